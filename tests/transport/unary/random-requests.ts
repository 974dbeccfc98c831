import { gzipSync } from "node:zlib";
import { create, toBinary, toJsonString } from "@bufbuild/protobuf";
import fc from "fast-check";
import { ListEntriesRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { wishes } from "./echo-service.ts";
import { changesOfBodies, changesOfHeaders } from "./request-changes.ts";
import { envelope, type Header, type WireRequest } from "./wire-request.ts";

const service = "/dailyaggregator.v1.LearningLogService";

/** Generates valid calls, and calls with one or two changes that may make them invalid. */
export function randomRequests(): fc.Arbitrary<WireRequest> {
  const change = fc.oneof(changesOfHeaders(), changesOfBodies());
  const changes = fc.oneof(
    { weight: 1, arbitrary: fc.constant([]) },
    { weight: 5, arbitrary: fc.array(change, { minLength: 1, maxLength: 2 }) },
  );
  return fc
    .tuple(validRequests(), changes)
    .map(([request, applied]) => applied.reduce((changed, change) => change(changed), request))
    .filter((request) => canBeSent(request) && !mayDiffer(request));
}

/**
 * Whether the adapters may answer differently. connect-node accepts a body that ends directly after the prefix of an
 * envelope, and checks for errors after a second message, although the second message is an error already.
 */
function mayDiffer({ body }: WireRequest): boolean {
  let rest = body;
  for (let messages = 0; rest.length >= 5; messages += 1) {
    if (messages === 2) return true;
    const length = rest.readUInt32BE(1);
    if (rest.length < 5 + length) break;
    rest = rest.subarray(5 + length);
  }
  return rest.length === 5;
}

/**
 * Whether Node's client can send the request. Over HTTP/2, it rejects a repetition of a header that may occur only
 * once, and any `te` other than `trailers`.
 */
function canBeSent({ httpVersion, headers }: WireRequest): boolean {
  if (httpVersion === 1) return true;
  const names = headers.map(([name]) => name).filter((name) => singleHeaders.has(name));
  return (
    new Set(names).size === names.length &&
    headers.every(([name, value]) => name !== "te" || value === "trailers")
  );
}

const singleHeaders = new Set(["content-type", "content-encoding", "user-agent", "te", "expect"]);

function validRequests(): fc.Arbitrary<WireRequest> {
  return fc
    .record({
      protocol: fc.constantFrom("grpc", "grpc-web", "connect", "connect GET"),
      httpVersion: fc.constantFrom(1 as const, 2 as const),
      codec: fc.constantFrom("proto", "json"),
      wish: fc.constantFrom(...wishes),
      paddingBytes: fc.constantFrom(0, 10, 350),
      isCompressed: fc.boolean(),
      accepts: fc.option(fc.constantFrom("gzip", "br", "identity", "gzip, br", "br;q=0.5,gzip")),
      parts: fc.constantFrom(1, 2, 7),
      missingBytes: fc.constantFrom(undefined, 0),
    })
    .map(
      ({ protocol, httpVersion, codec, wish, paddingBytes, isCompressed, accepts, parts, missingBytes }) => {
        const message = encode({ userId: "u".repeat(paddingBytes), pageToken: wish }, codec);
        const data = isCompressed ? gzipSync(message) : message;
        const isEnveloped = protocol.startsWith("grpc");
        const encodingPrefix = isEnveloped ? "grpc-" : "";
        const headers: Header[] = [["x-wish", wish]];
        if (accepts) headers.push([`${encodingPrefix}accept-encoding`, accepts]);
        const common = { httpVersion, parts, ends: true, missingBytes };
        if (protocol === "connect GET") {
          const query = new URLSearchParams({
            connect: "v1",
            encoding: codec,
            base64: "1",
            message: data.toString("base64url"),
          });
          if (isCompressed) query.set("compression", "gzip");
          const path = `${service}/ListEntries?${query}`;
          return { ...common, verb: "GET", path, headers, body: Buffer.alloc(0), missingBytes: undefined };
        }
        if (isCompressed) headers.push([`${encodingPrefix || "content-"}encoding`, "gzip"]);
        if (protocol === "grpc") headers.push(["te", "trailers"]);
        headers.push([
          "content-type",
          isEnveloped ? `application/${protocol}+${codec}` : `application/${codec}`,
        ]);
        const body = isEnveloped ? envelope(data, isCompressed ? 1 : 0) : data;
        return { ...common, verb: "POST", path: `${service}/ListEntries`, headers, body };
      },
    );
}

function encode(init: { userId: string; pageToken: string }, codec: string): Buffer {
  const message = create(ListEntriesRequestSchema, init);
  return Buffer.from(
    codec === "proto"
      ? toBinary(ListEntriesRequestSchema, message)
      : toJsonString(ListEntriesRequestSchema, message),
  );
}
