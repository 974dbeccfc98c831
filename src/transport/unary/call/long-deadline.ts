import {
  headerTimeout as headerConnectTimeout,
  parseTimeout as parseConnect,
} from "@connectrpc/connect/protocol-connect";
import {
  headerTimeout as headerGrpcTimeout,
  parseTimeout as parseGrpc,
} from "@connectrpc/connect/protocol-grpc";
import type { NodeRequest } from "../http/listeners.ts";

/** The longest delay of a Node timer: 24 days. A timer with a longer delay fires after a millisecond. */
export const maxTimerMs = 2 ** 31 - 1;

const timeouts = [
  [headerGrpcTimeout.toLowerCase(), parseGrpc],
  [headerConnectTimeout.toLowerCase(), parseConnect],
] as const;

/** Removes a deadline from the headers if it is too long for a timer: connect-node would end the call at once. */
export function removeLongDeadline(
  { headers }: NodeRequest,
  maxTimeoutMs: number = Number.MAX_SAFE_INTEGER,
): void {
  for (const [name, parse] of timeouts) {
    const value = headers[name];
    if (typeof value !== "string") continue;
    const { timeoutMs = 0, error } = parse(value.trim(), maxTimeoutMs);
    if (error === undefined && timeoutMs > maxTimerMs) delete headers[name];
  }
}
