import type { ChangedRange } from "../changes/learner-changes.ts";
import { hoursPerPeriod } from "./granularity.ts";
import type { SummaryRequest } from "./summary-request.ts";

const hourMicros = 3_600_000_000;

/** The request for the periods that a change can have touched, empty ones included. */
export function changedPart(request: SummaryRequest, changed: ChangedRange): SummaryRequest {
  const { from, to } = request.range;
  const within = (time: bigint) => (time < from ? from : time > to ? to : time);
  const range = {
    ...request.range,
    from: within(changed.from),
    to: within(changed.to + reachOfAverages(request)),
    omitEmptyPeriods: false,
  };
  return { ...request, range };
}

/** How far a moving average carries a change on into later periods, in microseconds: rather more than that. */
function reachOfAverages({ granularity, range: { movingAverageWindow } }: SummaryRequest): bigint {
  if (movingAverageWindow === 0) return 0n;
  return BigInt(Math.ceil((movingAverageWindow + 2) * hoursPerPeriod[granularity] * 1.1 * hourMicros));
}
