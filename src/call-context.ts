import type { HandlerContext } from "@connectrpc/connect";

/**
 * The part of Connect's HandlerContext that handlers use. Read `signal` only where it is needed: the lean unary path
 * creates it on first access, which is expensive. The signal aborts when the caller no longer waits for an answer.
 */
export type CallContext = Pick<HandlerContext, "signal">;
