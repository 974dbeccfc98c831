import { fromJson, type JsonObject, type JsonValue } from "@bufbuild/protobuf";
import { StructSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { expect, test } from "vitest";
import { boundError } from "../../../../src/transport/unary/call/bounded-error.ts";
import { effort, Random, seed } from "../../../support/random.ts";

test("the details of an error fit into its headers, or are left out", () => {
  const random = new Random(seed);
  const counts = { whole: 0, cut: 0 };
  for (let round = 0; round < 1000 * effort; round += 1) {
    const given = errorWithDetails(random);
    const bounded = boundError(given);
    const isWhole = bounded.details.length === given.details.length;
    expect(detailsHeader(bounded).length).toBeLessThan(6000);
    if (!isWhole) expect(detailsHeader(given).length).toBeGreaterThan(5000);
    counts[isWhole ? "whole" : "cut"] += 1;
  }
  expect(counts.whole).toBeGreaterThan(100);
  expect(counts.cut).toBeGreaterThan(100);
});

function errorWithDetails(random: Random): ConnectError {
  const details = Array.from({ length: random.integer(0, 4) }, () => ({
    desc: StructSchema,
    value: fromJson(StructSchema, randomObject(random, 3)),
  }));
  return new ConnectError("", Code.FailedPrecondition, undefined, details);
}

function randomObject(random: Random, depth: number): JsonObject {
  const fields = Array.from({ length: random.integer(0, 12) }, () => [
    randomText(random),
    randomValue(random, depth),
  ]);
  return Object.fromEntries(fields);
}

function randomValue(random: Random, depth: number): JsonValue {
  switch (depth > 0 ? random.integer(0, 5) : random.integer(2, 5)) {
    case 0:
      return randomObject(random, depth - 1);
    case 1:
      return Array.from({ length: random.integer(0, 12) }, () => randomValue(random, depth - 1));
    case 2:
      return random.fraction();
    case 3:
      return null;
    case 4:
      return true;
    default:
      return randomText(random);
  }
}

/** Returns a text with one to three bytes of UTF-8 for each UTF-16 code unit. */
function randomText(random: Random): string {
  return random.pick(["a", "ä", "語", "😀"]).repeat(random.pick([0, 1, 10, 500]));
}

function detailsHeader(error: ConnectError): string {
  return setTrailerStatus(new Headers(), error).get("grpc-status-details-bin") ?? "";
}
