// The version check every registry answers (distribution-spec, "Determining Support"), sent without credentials to
// hear how it wants to be asked.
import type { UpstreamConfig } from "../../config/config.ts";
import { apiPath } from "../../oci/api-url.ts";
import { discard } from "../body.ts";
import { dispatch } from "../connection/dispatch.ts";
import type { KeptConnections } from "../connection/kept-connections.ts";
import { userAgent } from "../connection/user-agent.ts";

/** WWW-Authenticate of a 401 to `<upstream url>/v2/`; empty for any other answer. Rejects with UpstreamError. */
export async function askForChallenges(
  { name, url }: Pick<UpstreamConfig, "name" | "url">,
  connections: KeptConnections,
): Promise<readonly string[]> {
  const options = {
    origin: url.origin,
    path: apiPath(url),
    method: "GET",
    headers: { "accept-encoding": "identity", "user-agent": userAgent },
  } as const;
  const { statusCode, headers, body } = await dispatch(connections, options, name);
  discard(body);
  return statusCode === 401 ? [headers["www-authenticate"] ?? []].flat() : [];
}
