// The part of the table of settings about notifications sent and webhooks received.
import * as hook from "./hook-types.ts";
import type { Setting } from "./setting.ts";
import * as type from "./value-types.ts";

export const hookSettings = {
  "notifications.endpoints": {
    env: undefined,
    default: undefined,
    type: hook.endpoints,
    form: "endpoints",
    partsShown: { headers: "hidden", headerFiles: "path", url: "url" },
    description:
      "List of receivers of pull and push events in CNCF Distribution's format, each with name and url; see Notifications",
  },
  "webhooks.secret": {
    env: "ENTREPOT_WEBHOOKS_SECRET",
    default: undefined,
    type: hook.webhookSecret,
    shown: "hidden",
    description: "Secret that senders of webhooks show; without one, webhooks are not taken",
  },
  "webhooks.secretFile": {
    env: "ENTREPOT_WEBHOOKS_SECRET_FILE",
    default: undefined,
    type: type.path,
    shown: "path",
    description: "File that holds it, instead of the secret itself; read again whenever it changes",
  },
  "webhooks.secretFiles": {
    env: undefined,
    default: undefined,
    type: hook.webhookSecretFiles,
    form: "map",
    shown: "path",
    description:
      "Files with the secrets of single sources, by source: distribution, artifactory, harbor, dockerhub, quay, generic",
  },
  "webhooks.prefetch": {
    env: "ENTREPOT_WEBHOOKS_PREFETCH",
    default: "false",
    type: type.yesOrNo,
    description: "Whether the manifest of a pushed tag that has been pulled through here is fetched at once",
  },
} as const satisfies Record<string, Setting>;
