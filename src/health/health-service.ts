import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import {
  type Health,
  type HealthCheckResponseSchema,
  HealthListResponseSchema,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "#gen/health/v1/health_pb.js";
import { shorten } from "../errors/shorten.ts";
import type { Readiness } from "./readiness.ts";

/**
 * Implements grpc.health.v1: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
 *
 * @param services the names of the known services; the empty name, which stands for the whole server, is always known
 */
export function createHealthService(
  readiness: Readiness,
  services: readonly string[],
): ServiceImpl<typeof Health> {
  const known = new Set(["", ...services]);

  return {
    check({ service }) {
      if (!known.has(service)) throw new ConnectError(`unknown service ${shorten(service)}`, Code.NotFound);
      return statusOf(readiness);
    },

    list() {
      const statuses = Object.fromEntries([...known].map((service) => [service, statusOf(readiness)]));
      return create(HealthListResponseSchema, { statuses });
    },

    async *watch({ service }, { signal }) {
      for await (const _ of readiness.changes(signal)) {
        yield known.has(service) ? statusOf(readiness) : { status: ServingStatus.SERVICE_UNKNOWN };
      }
    },
  };
}

function statusOf({ state }: Readiness): MessageInitShape<typeof HealthCheckResponseSchema> {
  return { status: state.ready ? ServingStatus.SERVING : ServingStatus.NOT_SERVING };
}
