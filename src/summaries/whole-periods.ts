import { longerThanPeriod } from "./calendar-rules.ts";
import { type SummaryDependencies, spanOf } from "./summarize.ts";
import type { SummaryRequest } from "./summary-request.ts";

/**
 * Returns a request for the same periods whose range begins and ends at the first instant of a period. So all requests
 * for the same periods get the same range.
 *
 * @throws ConnectError INVALID_ARGUMENT if the database does not know the time zone; otherwise as `query` does
 */
export async function wholePeriods(
  { pools, calendars }: SummaryDependencies,
  request: SummaryRequest,
  signal: AbortSignal,
): Promise<SummaryRequest> {
  const { rules, range } = request;
  const beginningOf = async (instant: number) => {
    const around = { from: instant - longerThanPeriod(rules), to: instant + 1 };
    const calendar = await calendars.between(pools.small, rules, around, signal);
    return BigInt(calendar.beginningOf(calendar.positionAt(instant))) * 1_000_000n;
  };
  const span = spanOf(request);
  const [one, other] = await Promise.all([beginningOf(span.from), beginningOf(span.to)]);
  // Where the clock is set back across midnight, `to` may lie in the period before that of `from`.
  const [from, to] = one <= other ? [one, other] : [other, one];
  return { ...request, range: { ...range, from, to } };
}
