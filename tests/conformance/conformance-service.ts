import { setTimeout as sleep } from "node:timers/promises";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type Any, anyPack } from "@bufbuild/protobuf/wkt";
import { ConnectError, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
import {
  ConformanceService,
  type ErrorDefinition,
  type Header,
  type RequestInfo,
  RequestInfoSchema,
  type StreamResponseDefinition,
  type UnaryResponseDefinition,
} from "./schema.ts";

const { unary, idempotentUnary, clientStream, serverStream, bidiStream } = ConformanceService.method;

type Response = MessageInitShape<typeof unary.output>;

/** The service that the suite calls: it answers as each request defines, and includes what it received. */
export function conformanceRoutes(router: ConnectRouter): void {
  router.service(ConformanceService, {
    unary: (request, context) => answer(request.responseDefinition, [anyPack(unary.input, request)], context),

    idempotentUnary: (request, context) =>
      answer(request.responseDefinition, [anyPack(idempotentUnary.input, request)], context),

    async clientStream(requests, context) {
      const seen = await Array.fromAsync(requests);
      const packed = seen.map((request) => anyPack(clientStream.input, request));
      return answer(seen[0]?.responseDefinition, packed, context);
    },

    async *serverStream(request, context) {
      const { responseDefinition: definition } = request;
      setHeaders(definition, context);
      yield* answerAll(definition, [anyPack(serverStream.input, request)], context);
    },

    async *bidiStream(requests, context) {
      let definition: StreamResponseDefinition | undefined;
      let fullDuplex: boolean | undefined;
      const unanswered: Any[] = [];
      let answers = 0;
      for await (const request of requests) {
        if (fullDuplex === undefined) {
          ({ responseDefinition: definition, fullDuplex } = request);
          setHeaders(definition, context);
        }
        unanswered.push(anyPack(bidiStream.input, request));
        if (!fullDuplex) continue;
        const data = definition?.responseData[answers];
        if (data === undefined) break;
        await pause(definition, context);
        const seen = unanswered.splice(0);
        yield {
          payload: { data, requestInfo: answers === 0 ? describe(seen, context) : { requests: seen } },
        };
        answers += 1;
      }
      yield* answerAll(definition, unanswered, context, answers);
    },
  });
}

async function answer(
  definition: UnaryResponseDefinition | undefined,
  requests: Any[],
  context: HandlerContext,
): Promise<Response> {
  const requestInfo = describe(requests, context);
  if (definition === undefined) return { payload: { requestInfo } };
  setHeaders(definition, context);
  await pause(definition, context);
  const { response } = definition;
  if (response.case === "error") throw toConnectError(response.value, requestInfo);
  return { payload: { data: response.value ?? new Uint8Array(), requestInfo } };
}

/** @param skipped the number of answers that have been sent already */
async function* answerAll(
  definition: StreamResponseDefinition | undefined,
  requests: Any[],
  context: HandlerContext,
  skipped = 0,
): AsyncIterable<Response> {
  if (definition === undefined) return;
  const { responseData, error } = definition;
  for (const [index, data] of responseData.entries()) {
    if (index < skipped) continue;
    await pause(definition, context);
    yield { payload: index === 0 ? { data, requestInfo: describe(requests, context) } : { data } };
  }
  if (error) throw toConnectError(error, responseData.length === 0 ? describe(requests, context) : undefined);
}

function describe(
  requests: Any[],
  { requestHeader, requestMethod, url, timeoutMs }: HandlerContext,
): RequestInfo {
  const timeout = timeoutMs();
  return create(RequestInfoSchema, {
    requestHeaders: Array.from(requestHeader, ([name, value]) => ({ name, value: [value] })),
    requests,
    ...(timeout === undefined ? {} : { timeoutMs: BigInt(Math.round(timeout)) }),
    ...(requestMethod === "GET" ? { connectGetInfo: { queryParams: queryParamsOf(url) } } : {}),
  });
}

function queryParamsOf(url: string) {
  return Array.from(new URL(url).searchParams, ([name, value]) => ({ name, value: [value] }));
}

function setHeaders(
  definition: UnaryResponseDefinition | StreamResponseDefinition | undefined,
  { responseHeader, responseTrailer }: HandlerContext,
): void {
  append(definition?.responseHeaders ?? [], responseHeader);
  append(definition?.responseTrailers ?? [], responseTrailer);
}

function append(headers: readonly Header[], to: Headers): void {
  for (const { name, value: values } of headers) for (const value of values) to.append(name, value);
}

/** Waits as long as the suite requests. @throws the reason of the call's signal, if that aborts first */
async function pause(
  definition: UnaryResponseDefinition | StreamResponseDefinition | undefined,
  { signal }: HandlerContext,
): Promise<void> {
  await sleep(definition?.responseDelayMs, undefined, { signal }).catch(() => signal.throwIfAborted());
}

/**
 * Creates the requested error.
 *
 * @param requestInfo what was received, as a further detail; undefined if an answer before the error contains it
 */
function toConnectError(
  { code, message, details }: ErrorDefinition,
  requestInfo?: RequestInfo,
): ConnectError {
  const error = new ConnectError(message ?? "", code);
  const all = requestInfo ? [...details, anyPack(RequestInfoSchema, requestInfo)] : details;
  error.details = all.map(({ typeUrl, value }) => ({
    type: typeUrl.slice(typeUrl.lastIndexOf("/") + 1),
    value,
  }));
  return error;
}
