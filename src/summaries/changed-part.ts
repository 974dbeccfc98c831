import type { ChangedRange } from "../changes/learner-changes.ts";
import { hoursPerPeriod } from "./granularity.ts";
import type { SummaryRequest } from "./summary-request.ts";

const hourMicros = 3_600_000_000;
const dayMicros = 86_400_000_000n;

/**
 * Returns the request for the periods that a change can affect. It includes empty periods, because a period may have
 * lost its last entry.
 */
export function changedPart(request: SummaryRequest, changed: ChangedRange): SummaryRequest {
  const { from, to } = request.range;
  const clamp = (time: bigint) => (time < from ? from : time > to ? to : time);
  const range = {
    ...request.range,
    // Longer by a day on both sides, because where the clock is set back across midnight, the period of an instant
    // can lie before that of an earlier instant.
    from: clamp(changed.from - dayMicros),
    to: clamp(changed.to + dayMicros + movingAverageReach(request)),
    omitEmptyPeriods: false,
  };
  return { ...request, range };
}

/** How far after a change a moving average can still depend on it, in microseconds; an upper bound. */
function movingAverageReach({ granularity, range: { movingAverageWindow } }: SummaryRequest): bigint {
  if (movingAverageWindow === 0) return 0n;
  return BigInt(Math.ceil((movingAverageWindow + 2) * hoursPerPeriod[granularity] * 1.1 * hourMicros));
}
