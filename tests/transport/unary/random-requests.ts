import { gzipSync } from "node:zlib";
import { create, toBinary, toJsonString } from "@bufbuild/protobuf";
import fc from "fast-check";
import { ListEntriesRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { wishes } from "./echo-service.ts";
import { changesOfBodies, changesOfHeaders } from "./request-changes.ts";
import { envelope, type Header, type WireRequest } from "./wire-request.ts";

const service = "/dailyaggregator.v1.LearningLogService";

/** Calls as a client makes them, and such with a few things wrong. */
export function randomRequests(): fc.Arbitrary<WireRequest> {
  const change = fc.oneof(changesOfHeaders(), changesOfBodies());
  const changes = fc.oneof(
    { weight: 1, arbitrary: fc.constant([]) },
    { weight: 5, arbitrary: fc.array(change, { minLength: 1, maxLength: 2 }) },
  );
  return fc
    .tuple(validRequests(), changes)
    .map(([request, applied]) => applied.reduce((changed, change) => change(changed), request))
    .filter((request) => canBeSent(request) && !isToDiffer(request));
}

/**
 * connect-node takes the bare head of an envelope for the end of a body, and looks for faults behind a second message,
 * which is one too many already.
 */
function isToDiffer({ body }: WireRequest): boolean {
  let rest = body;
  for (let messages = 0; rest.length >= 5; messages += 1) {
    if (messages === 2) return true;
    const length = rest.readUInt32BE(1);
    if (rest.length < 5 + length) break;
    rest = rest.subarray(5 + length);
  }
  return rest.length === 5;
}

/** Node's client of HTTP/2 sends no header twice that must not be there twice, and no `te` but this one. */
function canBeSent({ httpVersion, headers }: WireRequest): boolean {
  if (httpVersion === 1) return true;
  const names = headers.map(([name]) => name).filter((name) => single.has(name));
  return (
    new Set(names).size === names.length &&
    headers.every(([name, value]) => name !== "te" || value === "trailers")
  );
}

const single = new Set(["content-type", "content-encoding", "user-agent", "te", "expect"]);

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
