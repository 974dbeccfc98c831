import type { Readiness } from "./readiness.ts";

/** The response to a plain GET: a status code and a line of text. */
export interface ProbeAnswer {
  readonly status: number;
  readonly text: string;
}

/**
 * Answers the paths that orchestrators probe: `/healthz` for whether the process is alive, `/readyz` for whether it
 * should receive calls.
 *
 * @returns undefined for any other path
 */
export function probe(path: string, readiness: Readiness): ProbeAnswer | undefined {
  switch (path) {
    case "/healthz":
      return { status: 200, text: "alive" };
    case "/readyz":
      return readiness.state.ready
        ? { status: 200, text: "ready" }
        : { status: 503, text: `not ready: ${readiness.state.reason}` };
    default:
      return undefined;
  }
}
