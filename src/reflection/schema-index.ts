import {
  createRegistry,
  type DescEnum,
  type DescExtension,
  type DescFile,
  type DescMessage,
  type DescService,
  type MessageInitShape,
  type Registry,
  toBinary,
} from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import type {
  ServerReflectionRequest,
  ServerReflectionResponseSchema,
} from "#gen/grpc/reflection/v1/reflection_pb.js";
import { shorten } from "../errors/shorten.ts";

type Question = ServerReflectionRequest["messageRequest"];
type Answer = NonNullable<MessageInitShape<typeof ServerReflectionResponseSchema>["messageResponse"]>;

/** The schemas that reflection serves. */
export interface SchemaIndex {
  readonly services: readonly DescService[];
  /** All files, including imports, by file name. */
  readonly files: ReadonlyMap<string, DescFile>;
  readonly types: Registry;
  /**
   * The file that declares each symbol, by the symbol's full name: messages with their fields, enums with their
   * values, services with their methods, and extensions.
   */
  readonly symbols: ReadonlyMap<string, DescFile>;
}

/** @param files files to include in addition to those of the services */
export function createSchemaIndex(services: readonly DescService[], files: readonly DescFile[]): SchemaIndex {
  const all = withImports([...services.map(({ file }) => file), ...files]);
  const types = createRegistry(...all);
  return {
    services,
    files: new Map(all.map((file) => [file.proto.name, file])),
    types,
    symbols: new Map(
      Array.from(types).flatMap((type) => symbolsOf(type).map((symbol) => [symbol, type.file] as const)),
    ),
  };
}

/** Answers one request of the reflection protocol. An unknown name gets an error response. */
export function answerReflection(index: SchemaIndex, question: Question): Answer {
  switch (question.case) {
    case "fileByFilename":
      return fileAnswer(index.files.get(question.value), question.value);
    case "fileContainingSymbol":
      return fileAnswer(index.symbols.get(question.value), question.value);
    case "fileContainingExtension": {
      const { containingType, extensionNumber } = question.value;
      const extension = extensionsOf(index, containingType).find(({ number }) => number === extensionNumber);
      return fileAnswer(extension?.file, `extension ${extensionNumber} of ${containingType}`);
    }
    case "allExtensionNumbersOfType": {
      if (index.types.getMessage(question.value) === undefined) return notFound(question.value);
      const extensionNumber = extensionsOf(index, question.value).map(({ number }) => number);
      return {
        case: "allExtensionNumbersResponse",
        value: { baseTypeName: question.value, extensionNumber },
      };
    }
    case "listServices": {
      const service = index.services.map(({ typeName }) => ({ name: typeName }));
      return { case: "listServicesResponse", value: { service } };
    }
    default:
      return errorAnswer(Code.InvalidArgument, "the request asks for nothing");
  }
}

/** The full names of a type and its members. */
function symbolsOf(type: DescMessage | DescEnum | DescExtension | DescService): string[] {
  const { typeName } = type;
  switch (type.kind) {
    case "message":
      return [typeName, ...type.members.map(({ name }) => `${typeName}.${name}`)];
    case "enum": {
      // Enum values belong to the scope that contains the enum: https://protobuf.dev/programming-guides/proto3/#enum
      const scope = typeName.slice(0, typeName.lastIndexOf(".") + 1);
      return [typeName, ...type.values.map(({ name }) => `${scope}${name}`)];
    }
    case "service":
      return [typeName, ...type.methods.map(({ name }) => `${typeName}.${name}`)];
    case "extension":
      return [typeName];
  }
}

function extensionsOf({ types }: SchemaIndex, typeName: string): DescExtension[] {
  return Array.from(types).filter(
    (type): type is DescExtension => type.kind === "extension" && type.extendee.typeName === typeName,
  );
}

/** The files and everything that they import, each once, imports first. */
function withImports(files: readonly DescFile[]): DescFile[] {
  const found = new Set<DescFile>();
  const visit = (file: DescFile) => {
    if (found.has(file)) return;
    file.dependencies.forEach(visit);
    found.add(file);
  };
  files.forEach(visit);
  return [...found];
}

function fileAnswer(file: DescFile | undefined, name: string): Answer {
  if (file === undefined) return notFound(name);
  const fileDescriptorProto = withImports([file]).map(({ proto }) =>
    toBinary(FileDescriptorProtoSchema, proto),
  );
  return { case: "fileDescriptorResponse", value: { fileDescriptorProto } };
}

function notFound(name: string): Answer {
  return errorAnswer(Code.NotFound, `not found: ${shorten(name)}`);
}

function errorAnswer(errorCode: Code, errorMessage: string): Answer {
  return { case: "errorResponse", value: { errorCode, errorMessage } };
}
