// prom-client's default metrics, one by one. Its own types know them only all together.
declare module "prom-client/lib/metrics/*.js" {
  import type { Registry } from "prom-client";

  const register: (registry: Registry, options: { readonly eventLoopMonitoringPrecision: number }) => void;
  export = register;
}
