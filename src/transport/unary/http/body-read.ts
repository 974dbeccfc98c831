import type { BodyReader } from "./exchange.ts";

/** The read of a request's body. Settles once, with the reader's result or with the reason of a failure. */
export class BodyRead<Result> {
  readonly result: Promise<Result>;
  readonly #resolve: (result: Result | Promise<Result>) => void;
  readonly #reject: (reason: unknown) => void;
  /** Released when the read ends, together with the bytes that it has collected. */
  #reader: BodyReader<Result> | undefined;

  constructor(reader: BodyReader<Result>) {
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    this.result = promise;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#reader = reader;
  }

  /** Whether the reader needs more of the body. */
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

  /** Called when the body has ended, or when the reader has read enough. */
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

/** A read with any type of result. */
export type AnyBodyRead = Pick<BodyRead<unknown>, "isOpen" | "add" | "end" | "fail">;
