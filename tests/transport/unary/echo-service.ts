import { create } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  type ConnectRouter,
  type HandlerContext,
  type Interceptor,
} from "@connectrpc/connect";
import { CreateEntryRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";

/** The behaviours of the service. A caller chooses one in `page_token`. */
export const wishes = [
  "plain",
  "large",
  "headers",
  "trailers",
  "intercepted",
  "error",
  "error with details",
  "throw",
] as const;

/**
 * Implements only ListEntries. It answers with what the handler received, and behaves as `page_token` requests: see
 * {@link wishes}.
 */
export function echoRoutes(router: ConnectRouter): void {
  router.service(LearningLogService, {
    listEntries({ userId, pageToken: wish }, context) {
      grant(wish, context);
      const seen = JSON.stringify({ userId, wish, ...describe(context) });
      return { nextPageToken: wish === "large" ? seen.repeat(20) : seen };
    },
  });
}

export const echoInterceptor: Interceptor = (next) => async (request) => {
  const response = await next(request);
  if (request.header.get("x-wish") === "intercepted") {
    response.header.set("x-intercepted", request.requestMethod);
    response.trailer.set("x-intercepted-trailer", request.method.name);
  }
  return response;
};

function grant(wish: string, { responseHeader, responseTrailer }: HandlerContext): void {
  switch (wish) {
    case "headers":
      responseHeader.set("x-text", "a, b");
      responseHeader.append("x-list", "1");
      responseHeader.append("x-list", "2");
      responseHeader.append("set-cookie", "a=1");
      responseHeader.append("set-cookie", "b=2");
      responseHeader.set("x-bytes-bin", "AAEC");
      break;
    case "trailers":
      responseTrailer.append("x-list", "1");
      responseTrailer.append("x-list", "2");
      responseTrailer.set("x-bytes-bin", "AAEC");
      break;
    case "error":
      responseHeader.set("x-text", "before the error");
      throw new ConnectError("größer, 100 %\n", Code.AlreadyExists, { "x-metadata": "of the error" });
    case "error with details": {
      const value = create(CreateEntryRequestSchema, { userId: "a learner" });
      responseTrailer.set("x-text", "before the error");
      throw new ConnectError("", Code.Unavailable, undefined, [{ desc: CreateEntryRequestSchema, value }]);
    }
    case "throw":
      throw new TypeError("nobody should see this");
  }
}

function describe(context: HandlerContext) {
  const headers = Array.from(context.requestHeader).filter(([name]) => name !== "host");
  const { pathname, search } = new URL(context.url);
  const { protocolName, requestMethod } = context;
  return {
    protocolName,
    requestMethod,
    pathname,
    search,
    headers,
    hasTimeout: context.timeoutMs() !== undefined,
  };
}
