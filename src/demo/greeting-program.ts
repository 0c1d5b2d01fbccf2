// The program in the sample images: a static Linux executable of a few hundred bytes that prints a text and ends
// with status 0. Assembled here, so that the images can be run although nothing is downloaded and no compiler is
// needed. File format: elf(5); system calls: write and exit as in syscall(2).

/** As in `GOARCH` and an image config's `architecture`. */
export type Architecture = "amd64" | "arm64";

const baseAddress = 0x400000;
const fileHeaderSize = 64;
const segmentHeaderSize = 56;
const codeOffset = fileHeaderSize + segmentHeaderSize;

/** An ELF file for `architecture` printing `text`, which is at most 4 KiB of UTF-8 (else RangeError). */
export function greetingProgram(architecture: Architecture, text: string): Buffer {
  const message = Buffer.from(text, "utf8");
  if (message.length > 4096)
    throw new RangeError(`a greeting of ${message.length} bytes is longer than 4096`);
  const code = architecture === "amd64" ? amd64Code(message.length) : arm64Code(message.length);
  const size = codeOffset + code.length + message.length;
  return Buffer.concat([fileHeader(architecture), segmentHeader(size), code, message]);
}

function fileHeader(architecture: Architecture): Buffer {
  const header = Buffer.alloc(fileHeaderSize);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]); // magic, 64 bit, little-endian, version 1
  header.writeUInt16LE(2, 16); // e_type: executable
  header.writeUInt16LE(architecture === "amd64" ? 62 : 183, 18); // e_machine
  header.writeUInt32LE(1, 20); // e_version
  header.writeBigUInt64LE(BigInt(baseAddress + codeOffset), 24); // e_entry
  header.writeBigUInt64LE(BigInt(fileHeaderSize), 32); // e_phoff
  header.writeUInt16LE(fileHeaderSize, 52);
  header.writeUInt16LE(segmentHeaderSize, 54);
  header.writeUInt16LE(1, 56); // e_phnum
  return header;
}

/** One segment: the whole file, readable and executable. */
function segmentHeader(size: number): Buffer {
  const header = Buffer.alloc(segmentHeaderSize);
  header.writeUInt32LE(1, 0); // PT_LOAD
  header.writeUInt32LE(5, 4); // read + execute
  header.writeBigUInt64LE(BigInt(baseAddress), 16); // p_vaddr
  header.writeBigUInt64LE(BigInt(baseAddress), 24); // p_paddr
  header.writeBigUInt64LE(BigInt(size), 32); // p_filesz
  header.writeBigUInt64LE(BigInt(size), 40); // p_memsz
  header.writeBigUInt64LE(0x10000n, 48); // p_align: the largest page size of arm64
  return header;
}

/** write(1, message, length); exit(0). The message stands right behind the code. */
function amd64Code(length: number): Buffer {
  const code = Buffer.from(
    "b801000000" + // mov eax, 1 (write)
      "bf01000000" + // mov edi, 1
      "488d3500000000" + // lea rsi, [rip + distance]
      "ba00000000" + // mov edx, length
      "0f05" + // syscall
      "b83c000000" + // mov eax, 60 (exit)
      "31ff" + // xor edi, edi
      "0f05", // syscall
    "hex",
  );
  code.writeInt32LE(code.length - 17, 13);
  code.writeUInt32LE(length, 18);
  return code;
}

function arm64Code(length: number): Buffer {
  const instructions = 8;
  const moveImmediate = (register: number, value: number): number =>
    (0xd2800000 | (value << 5) | register) >>> 0;
  const supervisorCall = 0xd4000001;
  const code = Buffer.alloc(instructions * 4);
  [
    moveImmediate(8, 64), // write
    moveImmediate(0, 1),
    // adr x1: the distance is a multiple of four, so its two low bits are zero.
    (0x10000000 | ((((instructions - 2) * 4) >> 2) << 5) | 1) >>> 0,
    moveImmediate(2, length),
    supervisorCall,
    moveImmediate(8, 93), // exit
    moveImmediate(0, 0),
    supervisorCall,
  ].forEach((word, index) => {
    code.writeUInt32LE(word, index * 4);
  });
  return code;
}
