import type { DescFile, DescMessage } from "@bufbuild/protobuf";
import { file_buf_validate_validate as published } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import { expect, test } from "vitest";
import { file_buf_validate_validate as ours } from "#gen/buf/validate/validate_pb.js";
import { file_dailyaggregator_v1_entry as entry } from "#gen/dailyaggregator/v1/entry_pb.js";
import { file_dailyaggregator_v1_learning_log_service as service } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { file_dailyaggregator_v1_summary as summary } from "#gen/dailyaggregator/v1/summary_pb.js";

// proto/buf/validate/validate.proto is part of a published file. Clients can use the published file instead, see
// docs/clients.md.

test("the schema of the validation rules is part of the published one, with equal names, numbers and types", () => {
  const whole = describeFile(published);
  for (const [name, shape] of Object.entries(describeFile(ours))) expect(whole).toHaveProperty([name], shape);
});

test("generated Go and Java code uses the published package of the validation rules", () => {
  const { goPackage, javaPackage, javaOuterClassname, javaMultipleFiles } = published.proto.options ?? {};
  expect(ours.proto.options).toMatchObject({ goPackage, javaPackage, javaOuterClassname, javaMultipleFiles });
  expect(goPackage).toMatch(/^buf\.build\/gen\/go\//);
});

test("plain protoc-gen-go generates one package from the API's files, under any import path", () => {
  for (const { proto } of [entry, summary, service]) {
    expect(proto.options?.goPackage).toBe("dailyaggregator/v1;dailyaggregatorv1");
  }
});

/** Returns what affects the wire format or generated code, by the full name of each message, field and extension. */
function describeFile(file: DescFile): Record<string, unknown> {
  const extensions = file.extensions.map(({ typeName, extendee, number, proto }) => [
    typeName,
    [extendee.typeName, number, proto.type, proto.typeName, proto.label],
  ]);
  return Object.fromEntries([...extensions, ...file.messages.flatMap(describeMessage)]);
}

function describeMessage({ typeName, fields, nestedMessages }: DescMessage): [string, unknown][] {
  return [
    [typeName, "message"],
    ...fields.map(({ name, number, proto, oneof }): [string, unknown] => [
      `${typeName}.${name}`,
      [number, proto.type, proto.typeName, proto.label, oneof?.name],
    ]),
    ...nestedMessages.flatMap(describeMessage),
  ];
}
