// OTLP by the SDK of OpenTelemetry, whose packages need not be installed: they are loaded here, and only when this is called.
import type { Otel, OtelOptions } from "./otel-options.ts";

/** Connects to nothing before there is something to send. Rejects with how to install the packages when they are not. */
export async function openOtel(options: OtelOptions): Promise<Otel> {
  try {
    const { createOtel } = await import("./create-otel.ts");
    return createOtel(options);
  } catch (error) {
    if (!isMissingPackage(error)) throw error;
    const missing = "otel.endpoint is set, but the packages of OpenTelemetry are not installed";
    const remedy = "npm ci --include=optional installs them, or leave otel.endpoint out";
    throw new Error(`${missing}: ${remedy}`, { cause: error });
  }
}

function isMissingPackage(error: unknown): boolean {
  const { code, message } = (error ?? {}) as { readonly code?: unknown; readonly message?: unknown };
  return code === "ERR_MODULE_NOT_FOUND" && String(message).includes("@opentelemetry/");
}
