import grpc from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { grpcJsFailure, healthClient } from "../support/grpc-js.ts";
import { startOwnService, useTestService } from "../support/test-service.ts";

const service = useTestService();
const names = ["", "dailyaggregator.v1.LearningLogService"];

test.for(names)("Check says that %j is serving", async (name) => {
  await expect(healthClient(service.url).unary("check", { service: name })).resolves.toEqual({
    status: "SERVING",
  });
});

test("Check does not know other services", async () => {
  const error = await grpcJsFailure(healthClient(service.url).unary("check", { service: "nonsense" }));
  expect(error.code).toBe(grpc.status.NOT_FOUND);
});

test("List has the whole server and the service", async () => {
  await expect(healthClient(service.url).unary("list", {})).resolves.toEqual({
    statuses: Object.fromEntries(names.map((name) => [name, { status: "SERVING" }])),
  });
});

test("Watch says of another service that it does not know it, and goes on", async () => {
  const stream = healthClient(service.url).stream("watch", { service: "nonsense" });
  const heard: unknown[] = [];
  stream.on("data", ({ status }) => heard.push(status));
  const ended = new Promise((resolve) => stream.once("status", resolve));
  await expect.poll(() => heard).toEqual(["SERVICE_UNKNOWN"]);
  stream.on("error", () => {});
  stream.cancel();
  await expect(ended).resolves.toMatchObject({ code: grpc.status.CANCELLED });
});

test.for(names)(
  "Watch of %j hears of a stop before the connection closes, and then ends well",
  async (name) => {
    const stopping = await startOwnService(service.database.url);
    const stream = healthClient(stopping.url).stream("watch", { service: name });
    const heard: unknown[] = [];
    stream.on("data", ({ status }) => heard.push(status));
    const ended = new Promise((resolve) => stream.once("status", resolve));
    await expect.poll(() => heard).toEqual(["SERVING"]);
    await stopping.stop();
    await expect(ended).resolves.toMatchObject({ code: grpc.status.OK });
    expect(heard).toEqual(["SERVING", "NOT_SERVING"]);
  },
);

test("tells orchestrators over plain HTTP, too", async () => {
  for (const [path, text] of [
    ["/healthz", "alive\n"],
    ["/readyz", "ready\n"],
  ]) {
    const response = await fetch(service.url + path);
    expect(response.status).toBe(200);
    await expect(response.text()).resolves.toBe(text);
    await expect(fetch(service.url + path, { method: "HEAD" })).resolves.toMatchObject({ status: 200 });
    await expect(fetch(service.url + path, { method: "POST" })).resolves.toMatchObject({ status: 404 });
  }
});
