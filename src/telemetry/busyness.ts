/** The part of the time that a busy process has something else to do. */
const busyUtilization = 0.9;

/**
 * Begins to measure how busy this process is. A busy one may have missed an answer that came in time, so a wait that was
 * too long says nothing about who was waited for.
 *
 * @returns tells whether it has been busy since then
 */
export function measureBusyness(): () => boolean {
  const before = performance.eventLoopUtilization();
  return () => performance.eventLoopUtilization(before).utilization > busyUtilization;
}
