import type { BodyReader } from "./exchange.ts";

/** A request's body while it is read: it ends once, with what the reader makes of it, or with a reason. */
export class BodyRead<Result> {
  readonly result: Promise<Result>;
  readonly #resolve: (result: Result | Promise<Result>) => void;
  readonly #reject: (reason: unknown) => void;
  /** Let go of as soon as it wants nothing more, with what it has read. */
  #reader: BodyReader<Result> | undefined;

  constructor(reader: BodyReader<Result>) {
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    this.result = promise;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#reader = reader;
  }

  /** Whether more of the body is of interest. */
  get isOpen(): boolean {
    return this.#reader !== undefined;
  }

  add(chunk: Uint8Array): void {
    try {
      if (this.#reader?.add(chunk)) this.end();
    } catch (error) {
      this.fail(error);
    }
  }

  /** The body has ended, or the reader has enough of it. */
  end(): void {
    const reader = this.#reader;
    if (reader === undefined) return;
    this.#reader = undefined;
    try {
      this.#resolve(reader.result());
    } catch (error) {
      this.#reject(error);
    }
  }

  fail(reason: unknown): void {
    this.#reader = undefined;
    this.#reject(reason);
  }
}

/** Of whatever comes of it. */
export type AnyBodyRead = Pick<BodyRead<unknown>, "isOpen" | "add" | "end" | "fail">;
