/** How large a message the servers take. */
export const readMaxBytes = 400;

/** A request as it goes over the wire. */
export interface WireRequest {
  readonly httpVersion: 1 | 2;
  readonly verb: string;
  /** With the query. */
  readonly path: string;
  readonly headers: readonly Header[];
  readonly body: Buffer;
  /** In how many parts the body is sent. */
  readonly parts: number;
  /** How many bytes are promised beyond those that come; undefined if nothing is said about it. */
  readonly missingBytes: number | undefined;
  /** Whether the sender says that there is no more. */
  readonly ends: boolean;
}

export type Header = readonly [name: string, value: string];
/** A message as gRPC and gRPC-Web send it. */
export function envelope(data: Buffer, flags: number): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(flags);
  prefix.writeUInt32BE(data.length, 1);
  return Buffer.concat([prefix, data]);
}
