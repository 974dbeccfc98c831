/** The maximum size of a message that the servers accept, in bytes. */
export const readMaxBytes = 400;

/** A request, as it is sent. */
export interface WireRequest {
  readonly httpVersion: 1 | 2;
  readonly verb: string;
  /** The path, with the query. */
  readonly path: string;
  readonly headers: readonly Header[];
  readonly body: Buffer;
  /** The number of parts in which the body is sent. */
  readonly parts: number;
  /** By how many bytes the Content-Length exceeds the body; undefined if the length is not sent. */
  readonly missingBytes: number | undefined;
  /** Whether the sender ends the body. */
  readonly ends: boolean;
}

export type Header = readonly [name: string, value: string];

/** Puts a message into the envelope of gRPC and gRPC-Web. */
export function envelope(data: Buffer, flags: number): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(flags);
  prefix.writeUInt32BE(data.length, 1);
  return Buffer.concat([prefix, data]);
}
