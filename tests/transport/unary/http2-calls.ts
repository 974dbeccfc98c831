import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2";
import { create } from "@bufbuild/protobuf";
import { onTestFinished } from "vitest";
import { type CreateEntryRequest, CreateEntryRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { pathOf } from "./adapters.ts";

// Calls over HTTP/2 without a client library: the test sends the body and reads the answer.

/** Opens an HTTP/2 session, which is closed when the test finishes. */
export function connectTo(url: string): ClientHttp2Session {
  // In megabytes. The session holds the data that is not sent yet.
  const session = connect(url, { maxSessionMemory: 1_000 });
  onTestFinished(() => session.destroy());
  return session;
}

/** Sends the headers of a call, and leaves the request open. */
export function startCall(
  session: ClientHttp2Session,
  method: Parameters<typeof pathOf>[0],
  type: string,
): ClientHttp2Stream {
  const headers = { "content-type": type, te: "trailers" };
  const stream = session.request({ ":method": "POST", ":path": pathOf(method), ...headers });
  stream.on("error", () => {});
  return stream;
}

/** Waits for the trailers of gRPC. @returns their grpc-status */
export function statusOf(stream: ClientHttp2Stream): Promise<unknown> {
  stream.resume();
  return new Promise((resolve) => stream.once("trailers", (trailers) => resolve(trailers["grpc-status"])));
}

/** Waits until the stream is closed. @returns the stream */
export function closing(stream: ClientHttp2Stream): Promise<ClientHttp2Stream> {
  return new Promise((resolve) => stream.once("close", () => resolve(stream)));
}

/** Creates a request with a user_id of this length. */
export function withUserId(length: number): CreateEntryRequest {
  return create(CreateEntryRequestSchema, { userId: "x".repeat(length) });
}
