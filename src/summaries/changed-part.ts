import type { ChangedRange } from "../changes/learner-changes.ts";
import { hoursPerPeriod } from "./granularity.ts";
import type { SummaryRequest } from "./summary-request.ts";

const hourMicros = 3_600_000_000;

/**
 * Returns the request for the periods that a change can affect. It includes empty periods, because a period may have
 * lost its last entry.
 */
export function changedPart(request: SummaryRequest, changed: ChangedRange): SummaryRequest {
  const { from, to } = request.range;
  const clamp = (time: bigint) => (time < from ? from : time > to ? to : time);
  const range = {
    ...request.range,
    from: clamp(changed.from),
    to: clamp(changed.to + movingAverageReach(request)),
    omitEmptyPeriods: false,
  };
  return { ...request, range };
}

/** How far after a change a moving average can still depend on it, in microseconds; an upper bound. */
function movingAverageReach({ granularity, range: { movingAverageWindow } }: SummaryRequest): bigint {
  if (movingAverageWindow === 0) return 0n;
  return BigInt(Math.ceil((movingAverageWindow + 2) * hoursPerPeriod[granularity] * 1.1 * hourMicros));
}
