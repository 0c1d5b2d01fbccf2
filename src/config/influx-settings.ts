// The part of the table of settings that is about files for InfluxDB.
import type { Setting } from "./setting.ts";
import * as type from "./value-types.ts";

export const influxSettings = {
  "influx.dir": {
    env: "ENTREPOT_INFLUX_DIR",
    default: undefined,
    type: type.path,
    description:
      "Directory for entrepot.influx, a file with a point of InfluxDB's line protocol for every request; none unless set",
  },
  "influx.maxFileSize": {
    env: "ENTREPOT_INFLUX_MAX_FILE_SIZE",
    default: "64MB",
    type: type.size(1_000_000),
    description: "Size at which that file is set aside as entrepot.influx.1 and a new one begun",
  },
  "influx.keep": {
    env: "ENTREPOT_INFLUX_KEEP",
    default: "4",
    type: type.wholeNumber(0, 100),
    description: "How many files set aside are kept",
  },
} as const satisfies Record<`influx.${string}`, Setting>;
