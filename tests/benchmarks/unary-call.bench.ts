import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { create, toBinary, toJsonString } from "@bufbuild/protobuf";
import { CreateEntryRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { residentMb } from "../support/memory.ts";
import { ServerProcess } from "../support/server-process.ts";
import type { Benchmark, Setting } from "./harness/benchmark.ts";
import { type ConnectClient, Http1ConnectClient, Http2ConnectClient } from "./harness/connect-client.ts";
import { presentEntry } from "./harness/entries.ts";
import type { Figure } from "./harness/figure.ts";
import { frame, GrpcClient } from "./harness/grpc-client.ts";
import { type Measurement, runLoad, warmUp } from "./harness/load.ts";
import { RawGrpcClient } from "./harness/raw-grpc-client.ts";
import { takeTurns } from "./harness/rounds.ts";

const serverScript = path.join(import.meta.dirname, "harness/unary-server.ts");
const callPath = "/dailyaggregator.v1.LearningLogService/CreateEntry";
const inFlight = 128;
const connections = 8;

/** The numbers of connections and calls whose memory is measured. */
const openConnections = 1_000;
const openCalls = 10_000;

type Server = "lean" | "connect-node" | "grpc-js";

/** A unary call whose handler does almost nothing, on the lean path and on its rivals. */
export const unaryCallBenchmark: Benchmark = {
  name: "unary-call",
  async run(given) {
    const setting = { ...given, effort: { ...given.effort, rounds: given.effort.manyRounds } };
    return [
      ...(await measureGrpc(setting)),
      ...(await measureInterceptor(setting)),
      ...(await measureConnect(setting)),
      ...(await measureMemory(setting)),
    ];
  },
};

async function measureGrpc(setting: Setting): Promise<Figure[]> {
  await using lean = await startGrpc(setting, "lean");
  await using connectNode = await startGrpc(setting, "connect-node");
  await using grpcJs = await startGrpc(setting, "grpc-js");
  const measured = await takeTurns(setting, {
    lean: lean.measure,
    "connect-node": connectNode.measure,
    "grpc-js": grpcJs.measure,
  });
  const name = "unary gRPC call";
  return [
    ...figure(name, measured.lean, "connect-node", measured["connect-node"], 4),
    ...figure(name, measured.lean, "@grpc/grpc-js", measured["grpc-js"], 1.2),
  ];
}

async function measureInterceptor(setting: Setting): Promise<Figure[]> {
  await using lean = await startGrpc(setting, "lean", { READ_HEADER: "1" });
  await using grpcJs = await startGrpc(setting, "grpc-js", { READ_HEADER: "1" });
  const measured = await takeTurns(setting, { lean: lean.measure, "grpc-js": grpcJs.measure });
  const name = "unary gRPC call, an interceptor reads a header";
  return figure(name, measured.lean, "@grpc/grpc-js, its handler reads it", measured["grpc-js"], 1);
}

async function measureConnect(setting: Setting): Promise<Figure[]> {
  const entry = presentEntry();
  const figures: Figure[] = [];
  for (const [format, contentType, message] of [
    ["Protobuf", "application/proto", toBinary(CreateEntryRequestSchema, entry)],
    ["JSON", "application/json", Buffer.from(toJsonString(CreateEntryRequestSchema, entry))],
  ] as const) {
    for (const httpVersion of ["1", "2"] as const) {
      const start = async (server: Server) => {
        const child = await startServer(setting, server, { HTTP_VERSION: httpVersion });
        const client: ConnectClient =
          httpVersion === "1"
            ? new Http1ConnectClient(child.url)
            : new Http2ConnectClient(child.url, connections);
        return startLoad(setting, child, client, () => client.post(callPath, contentType, message));
      };
      await using lean = await start("lean");
      await using connectNode = await start("connect-node");
      const measured = await takeTurns(setting, { lean: lean.measure, "connect-node": connectNode.measure });
      const name = `unary Connect call, ${format} over HTTP/${httpVersion === "1" ? "1.1" : "2"}`;
      figures.push(...figure(name, measured.lean, "connect-node", measured["connect-node"], 2));
    }
  }
  return figures;
}

/** Measures how much the server's resident set grows for each connection and each call. */
async function measureMemory(setting: Setting): Promise<Figure[]> {
  const measured = new Map<Server, { perConnection: number; perCall: number }>();
  for (const server of ["lean", "connect-node", "grpc-js"] as const) {
    await using child = await startServer(setting, server, {}, ["--expose-gc"]);
    using warmingUp = new GrpcClient(child.url, connections);
    await warmUp(setting.effort.firstWarmUpSeconds, inFlight, grpcCall(warmingUp));
    const before = await settledKilobytes(child);

    using client = new GrpcClient(child.url, openConnections);
    const call = grpcCall(client);
    await Promise.all(Array.from({ length: openConnections }, call));
    const connected = await settledKilobytes(child);

    const waiting = create(CreateEntryRequestSchema, { ...presentEntry(), userId: "wait" });
    const request = frame(toBinary(CreateEntryRequestSchema, waiting));
    // These calls fail when their server ends.
    for (let count = 0; count < openCalls; count += 1) client.send(callPath, request).catch(() => {});
    // When these calls are answered, all earlier ones have reached their handler.
    await Promise.all(Array.from({ length: openConnections }, call));
    const busy = await settledKilobytes(child);
    measured.set(server, {
      perConnection: (connected - before) / openConnections,
      perCall: (busy - connected) / openCalls,
    });
    setting.progress(`  memory of ${server}: ${JSON.stringify(measured.get(server))} KB`);
  }
  const lean = measured.get("lean");
  const rivals = [
    ["connect-node", measured.get("connect-node")],
    ["@grpc/grpc-js", measured.get("grpc-js")],
  ] as const;
  return rivals.flatMap(([name, rival]) => {
    if (lean === undefined || rival === undefined) return [];
    return [
      {
        name: `memory of an open connection, with ${openConnections} open`,
        value: lean.perConnection,
        unit: "KB",
        rival: { name, value: rival.perConnection },
      },
      {
        name: `memory of a gRPC call in flight, with ${openCalls} in flight`,
        value: lean.perCall,
        unit: "KB",
        rival: { name, value: rival.perCall },
      },
    ];
  });
}

/** Collects garbage in a server. @returns its resident set in KB; 0 where there is no `/proc` */
async function settledKilobytes({ pid }: ServerProcess): Promise<number> {
  await sleep(500);
  process.kill(pid, "SIGUSR2");
  await sleep(500);
  return ((await residentMb(pid)) || 0) * 1024;
}

/** A server that is warmed up, and a client that calls it. */
interface Load extends AsyncDisposable {
  readonly measure: () => Promise<Measurement>;
}

async function startGrpc(setting: Setting, server: Server, env: Record<string, string> = {}): Promise<Load> {
  const child = await startServer(setting, server, env);
  const client = await RawGrpcClient.open(child.url, connections, callPath, { "x-tenant": "school" });
  const request = framedEntry();
  return startLoad(setting, child, client, () => client.call(request));
}

function grpcCall(client: GrpcClient): () => Promise<void> {
  const request = framedEntry();
  return async () => {
    const { status, message } = await client.send(callPath, request);
    if (status !== 0) throw new Error(`CreateEntry ended with status ${status}: ${message}`);
  };
}

function framedEntry(): Buffer {
  return frame(toBinary(CreateEntryRequestSchema, presentEntry()));
}

async function startLoad(
  { effort }: Setting,
  child: ServerProcess,
  client: Disposable,
  call: () => Promise<unknown>,
): Promise<Load> {
  await warmUp(effort.firstWarmUpSeconds, inFlight, call);
  return {
    measure: () => runLoad({ inFlight, ...effort }, call),
    async [Symbol.asyncDispose]() {
      client[Symbol.dispose]();
      await child[Symbol.asyncDispose]();
    },
  };
}

function startServer(
  { serviceFlags }: Setting,
  server: Server,
  env: Record<string, string>,
  flags: readonly string[] = [],
): Promise<ServerProcess> {
  return ServerProcess.start(serverScript, {
    env: { ...process.env, SERVER: server, ...env },
    flags: [...serviceFlags, ...flags],
  });
}

function figure(
  name: string,
  measured: Measurement | undefined,
  rivalName: string,
  rival: Measurement | undefined,
  atLeast: number,
): Figure[] {
  if (measured === undefined || rival === undefined) return [];
  const { rate, p50Ms, p99Ms } = measured;
  return [
    {
      name: `${name}, ${inFlight} in flight`,
      value: rate,
      unit: "calls/s",
      p50Ms,
      p99Ms,
      rival: { name: rivalName, value: rival.rate },
      goal: { of: "ratio", atLeast },
    },
  ];
}
