import grpc from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { grpcJsFailure, healthClient } from "../support/grpc-js.ts";
import { startOwnService, useTestService } from "../support/test-service.ts";

const service = useTestService();
const names = ["", "dailyaggregator.v1.LearningLogService"];

test.for(names)("Check returns SERVING for the service %j", async (name) => {
  await expect(healthClient(service.url).unary("check", { service: name })).resolves.toEqual({
    status: "SERVING",
  });
});

test("Check fails with NOT_FOUND for an unknown service", async () => {
  const error = await grpcJsFailure(healthClient(service.url).unary("check", { service: "nonsense" }));
  expect(error.code).toBe(grpc.status.NOT_FOUND);
});

test("List returns the status of the whole server and of the service", async () => {
  await expect(healthClient(service.url).unary("list", {})).resolves.toEqual({
    statuses: Object.fromEntries(names.map((name) => [name, { status: "SERVING" }])),
  });
});

test("Watch sends SERVICE_UNKNOWN for an unknown service, and stays open", async () => {
  const stream = healthClient(service.url).stream("watch", { service: "nonsense" });
  const statuses: unknown[] = [];
  stream.on("data", ({ status }) => statuses.push(status));
  const ended = new Promise((resolve) => stream.once("status", resolve));
  await expect.poll(() => statuses).toEqual(["SERVICE_UNKNOWN"]);
  stream.on("error", () => {});
  stream.cancel();
  await expect(ended).resolves.toMatchObject({ code: grpc.status.CANCELLED });
});

test.for(names)(
  "Watch of %j sends NOT_SERVING at a shutdown, and ends with OK before the connection closes",
  async (name) => {
    const stopping = await startOwnService(service.database.url);
    const stream = healthClient(stopping.url).stream("watch", { service: name });
    const statuses: unknown[] = [];
    stream.on("data", ({ status }) => statuses.push(status));
    const ended = new Promise((resolve) => stream.once("status", resolve));
    await expect.poll(() => statuses).toEqual(["SERVING"]);
    await stopping.stop();
    await expect(ended).resolves.toMatchObject({ code: grpc.status.OK });
    expect(statuses).toEqual(["SERVING", "NOT_SERVING"]);
  },
);

test("/healthz and /readyz answer orchestrators over plain HTTP", async () => {
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
