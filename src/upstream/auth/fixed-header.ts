// An Authorization value given whole by the configuration, for upstreams with a scheme of their own.
import type { SecretSource } from "../../config/secret.ts";
import type { Authorizer } from "./authorizer.ts";

/** Sends the value as it is, and again after a 401 when the file it comes from holds another by then. */
export function fixedHeader(value: SecretSource): Authorizer {
  const read = async (): Promise<string> => (await value.read()).reveal();
  return {
    header: read,
    refused: async (_scope, _challenges, sent) => (await read()) !== sent,
    renewed: async (_scope, sent) => (await read()) !== sent,
    close: async () => {},
  };
}
