import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { withUnaryHooks } from "../../../../src/transport/unary/call/unary-hooks.ts";
import { unaryNodeAdapter } from "../../../../src/transport/unary/unary-node-adapter.ts";
import { failureOf } from "../../../support/failures.ts";
import { serve } from "../adapters.ts";

/** What a call observed: the steps in their order, and the message of its error. */
interface Observation {
  readonly steps: readonly string[];
  readonly error: string;
}

/** An interceptor that records its steps and adds its name to an error, and throws if the learner has its name. */
function tracing(name: string, steps: string[]): Interceptor {
  return (next) => async (request) => {
    steps.push(`${name} ${request.method.name}`);
    if ("userId" in request.message && request.message.userId === name) throw new Error(name);
    try {
      return await next(request);
    } catch (error) {
      throw renamed(error, name);
    }
  };
}

/** Does the same as {@link tracing}, with hooks. The interceptor itself must not be called. */
function tracingHooks(name: string, steps: string[]): Interceptor {
  const neverCalled: Interceptor = () => () => Promise.reject(new Error("the interceptor was called"));
  return withUnaryHooks(neverCalled, {
    before(request, { method }) {
      steps.push(`${name} ${method.name}`);
      if ("userId" in request && request.userId === name) throw new Error(name);
    },
    replaceError: (error) => renamed(error, name),
  });
}

function renamed(error: unknown, name: string): ConnectError {
  const { rawMessage } = ConnectError.from(error);
  return new ConnectError(`${rawMessage}, ${name}`, Code.Aborted);
}

async function observe(userId: string, create: typeof tracing): Promise<Observation> {
  const steps: string[] = [];
  const methods = {
    createEntry({ userId: given }: { userId: string }) {
      steps.push("handler");
      if (given === "handler") throw new Error(given);
      return {};
    },
  };
  const interceptors = ["outer", "middle", "inner"].map((name) => create(name, steps));
  const baseUrl = await serve(unaryNodeAdapter, methods, { interceptors });
  const client = createClient(LearningLogService, createGrpcTransport({ baseUrl }));
  if (userId === "") await client.createEntry({});
  const error = userId === "" ? "" : (await failureOf(client.createEntry({ userId }))).rawMessage;
  return { steps, error };
}

test.for([
  ["a call that succeeds", "", ["outer", "middle", "inner"], ""],
  ["an error of the handler", "handler", ["outer", "middle", "inner"], "handler, inner, middle, outer"],
  ["an error of the last interceptor", "inner", ["outer", "middle", "inner"], "inner, middle, outer"],
  ["an error of the first interceptor", "outer", ["outer"], "internal error"],
] as const)("hooks have the effect of their interceptors on %s", async ([, userId, entered, error]) => {
  const observed = await observe(userId, tracingHooks);
  expect(observed).toEqual(await observe(userId, tracing));
  expect(observed.error).toBe(error);
  expect(observed.steps.filter((step) => step !== "handler")).toEqual(
    entered.map((name) => `${name} CreateEntry`),
  );
});

test("an interceptor without hooks runs, with the other interceptors, in its order", async () => {
  const steps: string[] = [];
  const methods = { createEntry: () => ({}) };
  const withHooks = withUnaryHooks(tracing("outer", steps), { before: () => steps.push("hook") });
  const baseUrl = await serve(unaryNodeAdapter, methods, {
    interceptors: [withHooks, tracing("inner", steps)],
  });
  await createClient(LearningLogService, createGrpcTransport({ baseUrl })).createEntry({});
  expect(steps).toEqual(["outer CreateEntry", "inner CreateEntry"]);
});
