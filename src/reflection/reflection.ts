import {
  create,
  type DescFile,
  type DescMessage,
  type DescService,
  fromBinary,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import type { ConnectRouter } from "@connectrpc/connect";
import {
  ServerReflection,
  type ServerReflectionRequest,
  ServerReflectionRequestSchema,
  type ServerReflectionResponse,
  ServerReflectionResponseSchema,
} from "#gen/grpc/reflection/v1/reflection_pb.js";
import {
  ServerReflectionRequestSchema as RequestAlphaSchema,
  ServerReflectionResponseSchema as ResponseAlphaSchema,
  ServerReflection as ServerReflectionAlpha,
} from "#gen/grpc/reflection/v1alpha/reflection_pb.js";
import { answerReflection, createSchemaIndex } from "./schema-index.ts";

/**
 * Serves grpc.reflection, v1 and v1alpha, so that clients such as `buf curl` and `grpcurl` need no schema:
 * https://github.com/grpc/grpc/blob/master/doc/server-reflection.md
 *
 * @param services the services to list; those of reflection are added
 * @param files more files that clients can request, such as those of error details
 */
export function serveReflection(
  router: ConnectRouter,
  services: readonly DescService[],
  files: readonly DescFile[],
): void {
  const index = createSchemaIndex([...services, ServerReflection, ServerReflectionAlpha], files);

  async function* answerAll(
    requests: AsyncIterable<ServerReflectionRequest>,
  ): AsyncIterable<ServerReflectionResponse> {
    for await (const request of requests) {
      yield create(ServerReflectionResponseSchema, {
        validHost: request.host,
        originalRequest: request,
        messageResponse: answerReflection(index, request.messageRequest),
      });
    }
  }

  router.service(ServerReflection, { serverReflectionInfo: answerAll });
  router.service(ServerReflectionAlpha, {
    async *serverReflectionInfo(requests) {
      const answers = answerAll(recode(requests, RequestAlphaSchema, ServerReflectionRequestSchema));
      yield* recode(answers, ServerReflectionResponseSchema, ResponseAlphaSchema);
    },
  });
}

/** Converts messages between v1 and v1alpha. They differ only in their package, so their encodings are the same. */
async function* recode<From extends DescMessage, To extends DescMessage>(
  messages: AsyncIterable<MessageShape<From>>,
  from: From,
  to: To,
): AsyncIterable<MessageShape<To>> {
  for await (const message of messages) yield fromBinary(to, toBinary(from, message));
}
