import path from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { HealthCheckRequestSchema } from "#gen/health/v1/health_pb.js";
import { ServerProcess } from "../support/server-process.ts";
import type { Benchmark } from "./harness/benchmark.ts";
import { createDatabase } from "./harness/database.ts";
import type { Figure } from "./harness/figure.ts";
import { frame } from "./harness/grpc-client.ts";
import { measureH2load } from "./harness/h2load.ts";
import { runLoad, warmUp } from "./harness/load.ts";
import { RawGrpcClient } from "./harness/raw-grpc-client.ts";
import { takeTurns } from "./harness/rounds.ts";
import { startService } from "./harness/service.ts";

const rivalScript = path.join(import.meta.dirname, "harness/grpc-js-health.ts");
const callPath = "/grpc.health.v1.Health/Check";
const connections = 8;
const inFlightPerConnection = 16;
const inFlight = connections * inFlightPerConnection;
const framed = frame(toBinary(HealthCheckRequestSchema, create(HealthCheckRequestSchema)));

/** A call that does nothing, to the service as it runs, with all of its interceptors. */
export const emptyCallBenchmark: Benchmark = {
  name: "empty-call",
  async run(given) {
    const setting = { ...given, effort: { ...given.effort, rounds: given.effort.manyRounds } };
    await using database = await createDatabase(setting.server);
    await using service = await startService(setting, database);
    await using rival = await ServerProcess.start(rivalScript);
    using client = await RawGrpcClient.open(service.url, connections, callPath);
    using rivalClient = await RawGrpcClient.open(rival.url, connections, callPath);

    const { effort } = setting;
    const callsByNode = (to: RawGrpcClient) => () => runLoad({ inFlight, ...effort }, () => to.call(framed));
    const callsByH2load = ({ url }: ServerProcess) => {
      const target = `${url}${callPath}`;
      return () => measureH2load(target, { connections, inFlightPerConnection, framed }, effort);
    };
    // These calls fail unless they are answered with a message, which h2load does not check.
    for (const to of [client, rivalClient]) {
      await warmUp(effort.firstWarmUpSeconds, inFlight, () => to.call(framed));
    }
    const measured = await takeTurns(setting, {
      "service, h2load": callsByH2load(service),
      "grpc-js, h2load": callsByH2load(rival),
      "service, load in Node": callsByNode(client),
      "grpc-js, load in Node": callsByNode(rivalClient),
    });
    const figure = (load: "h2load" | "load in Node", rest: Partial<Figure>): Figure[] => {
      const ours = measured[`service, ${load}`];
      const theirs = measured[`grpc-js, ${load}`];
      if (ours === undefined || theirs === undefined) return [];
      const { rate: value, p50Ms, p99Ms } = ours;
      const rival = { name: "a bare server of @grpc/grpc-js", value: theirs.rate };
      const name = `Health/Check of the service, ${inFlight} in flight, ${load}`;
      return [{ name, value, unit: "calls/s", p50Ms, p99Ms, rival, ...rest }];
    };
    const byH2load = figure("h2load", { goal: { of: "ratio", atLeast: 1.2 } });
    const note =
      byH2load.length === 0 ? "h2load is not installed, and this load takes as long as a call" : undefined;
    return [...byH2load, ...figure("load in Node", { note })];
  },
};
