/** The event loop utilization, from 0 to 1, above which this process counts as busy. */
const busyUtilization = 0.9;

/**
 * Starts to measure how busy this process is. A busy process may be late to read a response that arrived in time, so
 * a timeout does not prove that the peer was slow.
 *
 * @returns a function that returns whether the process has been busy since this call
 */
export function measureBusyness(): () => boolean {
  const before = performance.eventLoopUtilization();
  return () => performance.eventLoopUtilization(before).utilization > busyUtilization;
}
