import { gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { ListEntriesRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { envelope, type WireRequest } from "./wire-request.ts";

const message = Buffer.from(
  toBinary(ListEntriesRequestSchema, create(ListEntriesRequestSchema, { userId: "ada" })),
);

const compressedGrpcWeb = {
  httpVersion: 1,
  verb: "POST",
  path: "/dailyaggregator.v1.LearningLogService/ListEntries",
  headers: [
    ["grpc-encoding", "gzip"],
    ["content-type", "application/grpc-web+proto"],
    ["x-wish", "plain"],
  ],
  parts: 1,
  missingBytes: undefined,
} as const;

/** Requests that random tests have found: the two adapters once answered them differently. */
export const foundRequests: readonly WireRequest[] = [
  // Compressed trailers are not a second message, so the server reads on.
  {
    ...compressedGrpcWeb,
    body: Buffer.concat([envelope(gzipSync(message), 1), envelope(Buffer.alloc(0), 0x81)]),
    ends: false,
  },
  // A body may have several trailers, and the last ones may be invalid.
  {
    ...compressedGrpcWeb,
    body: Buffer.concat([envelope(gzipSync(message), 0x81), envelope(Buffer.alloc(1), 0x81)]),
    ends: true,
  },
];
