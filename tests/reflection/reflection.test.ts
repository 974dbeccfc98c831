import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import path from "node:path";
import { promisify } from "node:util";
import { fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { describe, expect, test } from "vitest";
import {
  ServerReflection,
  type ServerReflectionRequestSchema,
  type ServerReflectionResponse,
} from "#gen/grpc/reflection/v1/reflection_pb.js";
import {
  ServerReflection as ServerReflectionAlpha,
  type ServerReflectionResponse as ServerReflectionResponseAlpha,
} from "#gen/grpc/reflection/v1alpha/reflection_pb.js";
import { useTestService } from "../support/test-service.ts";

const bufPath = path.join(import.meta.dirname, "../../node_modules/.bin/buf");

type Question = NonNullable<MessageInitShape<typeof ServerReflectionRequestSchema>["messageRequest"]>;
type Answer = (ServerReflectionResponse | ServerReflectionResponseAlpha)["messageResponse"];

const service = useTestService();

const listed = [
  "dailyaggregator.v1.LearningLogService",
  "grpc.health.v1.Health",
  "grpc.reflection.v1.ServerReflection",
  "grpc.reflection.v1alpha.ServerReflection",
];

describe("buf curl without a schema", () => {
  const run = promisify(execFile);
  const buf = async (...args: string[]) => {
    // Outside the project, because buf would find its schema.
    const { stdout } = await run(bufPath, ["curl", "--http2-prior-knowledge", ...args], { cwd: "/" });
    return stdout;
  };

  test.for(["grpc", "grpcweb", "connect"])("calls a method over %s", async (protocol) => {
    const url = `${service.url}/dailyaggregator.v1.LearningLogService/CreateEntry`;
    const entry = { requestId: randomUUID(), userId: "mia", wordCount: 3 };
    const answer = await buf("--protocol", protocol, "--data", JSON.stringify(entry), url);
    expect(JSON.parse(answer)).toMatchObject({ entry });
  });

  test.for(["grpc-v1", "grpc-v1alpha"])("lists services and methods by %s reflection", async (version) => {
    const services = await buf("--reflect-protocol", version, "--list-services", service.url);
    expect(services.trim().split("\n")).toEqual(listed);
    const methods = await buf("--reflect-protocol", version, "--list-methods", service.url);
    expect(methods.split("\n")).toContain("dailyaggregator.v1.LearningLogService/GetSummary");
  });

  test("shows the details of an error", async () => {
    const url = `${service.url}/dailyaggregator.v1.LearningLogService/CreateEntry`;
    const failure: { stderr: string } = await buf("--protocol", "grpc", "--data", "{}", url).catch(
      (error) => error,
    );
    expect(failure.stderr).toContain("buf.validate.Violations");
    expect(failure.stderr).toContain("word_count");
  });
});

describe.for([
  ["v1", ServerReflection],
  ["v1alpha", ServerReflectionAlpha],
] as const)("reflection %s", ([, reflection]) => {
  const ask = async (...questions: Question[]): Promise<Answer[]> => {
    const client = createClient(reflection, createGrpcTransport({ baseUrl: service.url }));
    const answers: Answer[] = [];
    async function* requests() {
      for (const messageRequest of questions) yield { host: "localhost", messageRequest };
    }
    for await (const { validHost, originalRequest, messageResponse } of client.serverReflectionInfo(
      requests(),
    )) {
      expect(validHost).toBe("localhost");
      expect(originalRequest?.messageRequest).toMatchObject(questions[answers.length] ?? {});
      answers.push(messageResponse);
    }
    return answers;
  };
  /** Returns the name of the file that declares a symbol. It is the last file, after all that it imports. */
  const fileWith = async (symbol: string) =>
    (await filesOf(ask({ case: "fileContainingSymbol", value: symbol }))).at(-1);

  test("lists the services", async () => {
    const [answer] = await ask({ case: "listServices", value: "" });
    if (answer?.case !== "listServicesResponse") throw new Error(`the answer is ${answer?.case}`);
    expect(answer.value.service.map(({ name }) => name)).toEqual(listed);
  });

  test("returns a file after all files that it imports", async () => {
    const files = await filesOf(ask({ case: "fileByFilename", value: "dailyaggregator/v1/summary.proto" }));
    expect(files.at(-1)).toBe("dailyaggregator/v1/summary.proto");
    expect(files).toContain("google/protobuf/timestamp.proto");
    expect(files.indexOf("google/protobuf/descriptor.proto")).toBeLessThan(
      files.indexOf("buf/validate/validate.proto"),
    );
    expect(new Set(files).size).toBe(files.length);
  });

  test.for([
    ["a service", "dailyaggregator.v1.LearningLogService", "dailyaggregator/v1/learning_log_service.proto"],
    [
      "a method",
      "dailyaggregator.v1.LearningLogService.GetSummary",
      "dailyaggregator/v1/learning_log_service.proto",
    ],
    ["a message", "dailyaggregator.v1.Entry", "dailyaggregator/v1/entry.proto"],
    ["a field", "dailyaggregator.v1.Entry.user_id", "dailyaggregator/v1/entry.proto"],
    ["an enum", "dailyaggregator.v1.Granularity", "dailyaggregator/v1/summary.proto"],
    ["an enum value", "dailyaggregator.v1.GRANULARITY_DAY", "dailyaggregator/v1/summary.proto"],
    ["a nested enum", "grpc.health.v1.HealthCheckResponse.ServingStatus", "health/v1/health.proto"],
    ["a value of a nested enum", "grpc.health.v1.HealthCheckResponse.SERVING", "health/v1/health.proto"],
    [
      "a oneof",
      "grpc.reflection.v1.ServerReflectionRequest.message_request",
      "grpc/reflection/v1/reflection.proto",
    ],
    ["an extension", "buf.validate.field", "buf/validate/validate.proto"],
    ["an imported message", "google.protobuf.Timestamp", "google/protobuf/timestamp.proto"],
    ["a detail of an error", "google.rpc.RetryInfo", "google/rpc/error_details.proto"],
  ] as const)("finds the file of %s", async ([, symbol, file]) => {
    await expect(fileWith(symbol)).resolves.toBe(file);
  });

  test("finds an extension by its number, and lists the extension numbers of a message", async () => {
    const containingType = "google.protobuf.FieldOptions";
    const [numbers, none] = await ask(
      { case: "allExtensionNumbersOfType", value: containingType },
      { case: "allExtensionNumbersOfType", value: "dailyaggregator.v1.Entry" },
    );
    expect(numbers).toMatchObject({
      case: "allExtensionNumbersResponse",
      value: { baseTypeName: containingType, extensionNumber: [1159] },
    });
    expect(none).toMatchObject({ case: "allExtensionNumbersResponse", value: { extensionNumber: [] } });
    const files = await filesOf(
      ask({ case: "fileContainingExtension", value: { containingType, extensionNumber: 1159 } }),
    );
    expect(files.at(-1)).toBe("buf/validate/validate.proto");
  });

  test("answers NOT_FOUND for unknown names on one stream, and INVALID_ARGUMENT for an empty request", async () => {
    const answers = await ask(
      { case: "fileByFilename", value: "nonsense.proto" },
      { case: "fileContainingSymbol", value: "dailyaggregator.v1.Nonsense" },
      { case: "fileContainingSymbol", value: "dailyaggregator.v1.Entry.nonsense" },
      { case: "fileContainingSymbol", value: "Entry" },
      { case: "fileContainingSymbol", value: "" },
      {
        case: "fileContainingExtension",
        value: { containingType: "google.protobuf.FieldOptions", extensionNumber: 1 },
      },
      { case: "fileContainingExtension", value: { containingType: "nonsense", extensionNumber: 1159 } },
      { case: "allExtensionNumbersOfType", value: "nonsense" },
    );
    expect(answers).toHaveLength(8);
    for (const answer of answers)
      expect(answer).toMatchObject({ case: "errorResponse", value: { errorCode: 5 } });
    await expect(ask({ case: undefined })).resolves.toMatchObject([
      { case: "errorResponse", value: { errorCode: 3 } },
    ]);
  });
});

/** Returns the names of the files in an answer, in their order. */
async function filesOf(asked: Promise<Answer[]>): Promise<string[]> {
  const [answer] = await asked;
  if (answer?.case !== "fileDescriptorResponse") throw new Error(`the answer is ${answer?.case}`);
  return answer.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes).name);
}
