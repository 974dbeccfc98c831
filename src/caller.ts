/** Who waits for an answer, as Connect's HandlerContext says it. */
export interface Caller {
  /** Aborted when nobody waits any more. It is made when it is first read, which is dear. */
  readonly signal: AbortSignal;
}
