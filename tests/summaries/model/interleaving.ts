import type { OracleQuestion } from "../oracle.ts";
import type { Instance } from "./history.ts";

// What happens to one learner: drawn by `questions.ts` and `steps.ts`, done by `learner.ts`.

/** An instant, in microseconds since 1970, or so many before the present. */
export type Time = { readonly at: bigint } | { readonly ago: bigint };

/** A question whose range may move with the present. */
export interface Asked extends Omit<OracleQuestion, "from" | "to"> {
  readonly from: Time;
  readonly to: Time;
  readonly pageSize: number;
}

/** An entry to record. */
export interface Sent {
  readonly time: Time;
  readonly wordCount: number;
  /** Which of those sent before to send again instead, if there are any. */
  readonly again: number | undefined;
}

/** Entries are sent: one, a batch of them, or a batch in a stream. */
export interface Recording {
  readonly does: "create" | "batch" | "import";
  readonly instance: Instance;
  readonly entries: readonly Sent[];
}

/** What one caller does. */
export type Command =
  | Recording
  /** The entry is one of those sent before. */
  | { readonly does: "delete"; readonly instance: Instance; readonly entry: number }
  | { readonly does: "delete all"; readonly instance: Instance }
  | { readonly does: "read"; readonly instance: Instance; readonly question: number };

/** What happens next: a command; several, each begun a little after the start; a cut; or nothing for a while. */
export type Step =
  | Command
  | { readonly does: "at once"; readonly commands: readonly { afterMs: number; command: Command }[] }
  | { readonly does: "cut notifications" }
  | { readonly does: "wait" };

/** All that happens to one learner, one step after another. */
export interface Interleaving {
  /** Asked again and again, so that the answers may come from memory. */
  readonly questions: readonly Asked[];
  readonly steps: readonly Step[];
}
