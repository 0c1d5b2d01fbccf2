// The part of the table of settings that is about Redis. None of it set: this node shares nothing.
import * as redis from "./redis-types.ts";
import type { Setting } from "./setting.ts";
import * as upstream from "./upstream-types.ts";
import * as type from "./value-types.ts";

export const redisSettings = {
  "redis.url": {
    env: "ENTREPOT_REDIS_URL",
    default: undefined,
    type: redis.url,
    shown: "url",
    description:
      "Redis that the nodes of a datacenter share, redis://host:6379 or rediss:// for TLS; none unless set",
  },
  "redis.sentinels": {
    env: "ENTREPOT_REDIS_SENTINELS",
    default: undefined,
    type: redis.addresses,
    form: "list",
    description: "Instead of url: host:port of the Sentinels that know where it is",
  },
  "redis.master": {
    env: "ENTREPOT_REDIS_MASTER",
    default: undefined,
    type: redis.master,
    description: "What the Sentinels call it",
  },
  "redis.sentinelPassword": {
    env: "ENTREPOT_REDIS_SENTINEL_PASSWORD",
    default: undefined,
    type: upstream.password,
    shown: "hidden",
    description: "Password of the Sentinels themselves",
  },
  "redis.sentinelPasswordFile": {
    env: "ENTREPOT_REDIS_SENTINEL_PASSWORD_FILE",
    default: undefined,
    type: type.path,
    shown: "path",
    description: "File that holds it, instead; read again whenever it changes",
  },
  "redis.cluster": {
    env: "ENTREPOT_REDIS_CLUSTER",
    default: undefined,
    type: redis.addresses,
    form: "list",
    description: "Instead of url: host:port of some nodes of a Redis Cluster",
  },
  "redis.username": {
    env: "ENTREPOT_REDIS_USERNAME",
    default: undefined,
    type: redis.username,
    description: "User of Redis (ACL); the default user unless set",
  },
  "redis.password": {
    env: "ENTREPOT_REDIS_PASSWORD",
    default: undefined,
    type: upstream.password,
    shown: "hidden",
    description: "Its password",
  },
  "redis.passwordFile": {
    env: "ENTREPOT_REDIS_PASSWORD_FILE",
    default: undefined,
    type: type.path,
    shown: "path",
    description:
      "File that holds the password, instead of the password itself; read again whenever it changes",
  },
  "redis.db": {
    env: "ENTREPOT_REDIS_DB",
    default: "0",
    type: type.wholeNumber(0, 65_535),
    description: "Number of the database; a Cluster has only 0",
  },
  "redis.prefix": {
    env: "ENTREPOT_REDIS_PREFIX",
    default: "entrepot:",
    type: redis.prefix,
    description: "What every key and channel begins with; mirrors with the same one share",
  },
  "redis.tls.enabled": {
    env: "ENTREPOT_REDIS_TLS",
    default: undefined,
    type: type.yesOrNo,
    description: "Whether to use TLS; true with rediss:// or when anything else of redis.tls is set",
  },
  "redis.tls.ca": {
    env: undefined,
    default: undefined,
    type: type.path,
    shown: "path",
    description: "PEM file of the authorities to trust instead of those of the system",
  },
  "redis.tls.cert": {
    env: undefined,
    default: undefined,
    type: type.path,
    shown: "path",
    description: "PEM file of the certificate to show to Redis",
  },
  "redis.tls.key": {
    env: undefined,
    default: undefined,
    type: type.path,
    shown: "path",
    description: "PEM file of its private key, not encrypted",
  },
  "redis.tls.serverName": {
    env: undefined,
    default: undefined,
    type: upstream.serverName,
    description: "Name to look for in the certificate of Redis, instead of its host",
  },
} as const satisfies Record<`redis.${string}`, Setting>;

export type RedisKey = keyof typeof redisSettings;
export const redisKeys = Object.keys(redisSettings) as readonly RedisKey[];
