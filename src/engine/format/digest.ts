/**
 * The state digest: the sum, lane by lane modulo 2^32, of a 128-bit hash of every concept and of every association.
 * A sum does not depend on order and can be kept up by adding and subtracting, so every state carries its digest for
 * free; it is made of what clients can see (keys, names, checksums of content and vector, numbers, times) and of no slot,
 * sequence, epoch or UUID, so that snapshots, exports, restores and replicas can be compared (design.md, decision 4).
 *
 * H is MurmurHash3_x86_128's round over 32-bit words with its finalizer: not cryptographic; it guards against bugs and
 * damage, not against an adversary. https://github.com/aappleby/smhasher (public domain).
 */

const f32 = new Float32Array(1);
const f32Bits = new Uint32Array(f32.buffer);

function floatBits(value: number): number {
  f32[0] = value;
  return f32Bits[0] ?? 0;
}

function mix(h: number, word: number, c1: number, c2: number): number {
  let k = Math.imul(word, c1);
  k = (k << 15) | (k >>> 17);
  h ^= Math.imul(k, c2);
  h = (h << 13) | (h >>> 19);
  return (Math.imul(h, 5) + 0xe6546b64) | 0;
}

/** Low word, then high word. A remainder of doubles is a call into C; this is exact, dividing by a power of two. */
function mixTime(h: number, timeUs: number): number {
  const high = Math.floor(timeUs / 4294967296);
  return mix(mix(h, timeUs - high * 4294967296, C2, C3), high, C2, C3);
}

function final(h: number): number {
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/** Four uint32 lanes. `sign` is 1 to add, -1 to subtract. */
export class Digest {
  readonly lanes = new Uint32Array(4);

  clone(): Digest {
    const copy = new Digest();
    copy.lanes.set(this.lanes);
    return copy;
  }

  equals(other: Digest): boolean {
    for (let i = 0; i < 4; i++) if (this.lanes[i] !== other.lanes[i]) return false;
    return true;
  }

  toString(): string {
    return Array.from(this.lanes, (lane) => lane.toString(16).padStart(8, '0')).join('');
  }

  /** nameCrc: CRC-32 of the name's bytes, 0 without a name; vectorCrc: of the float32 bytes, 0 without a vector. Times in us. */
  concept(
    sign: 1 | -1,
    k0: number,
    k1: number,
    k2: number,
    k3: number,
    nameLength: number,
    nameCrc: number,
    contentLength: number,
    contentCrc: number,
    dimension: number,
    vectorCrc: number,
    strength: number,
    confidence: number,
    createdUs: number,
    updatedUs: number,
  ): void {
    let a = mix(mix(mix(mix(0x636f6e63, k0, C1, C2), k1, C1, C2), k2, C1, C2), k3, C1, C2);
    a = mix(mix(a, nameLength, C1, C2), nameCrc, C1, C2);
    a = mix(mix(a, contentLength, C1, C2), contentCrc, C1, C2);
    a = mix(mix(a, dimension, C1, C2), vectorCrc, C1, C2);
    let b = mix(mix(a ^ 0x55555555, floatBits(strength), C2, C3), floatBits(confidence), C2, C3);
    b = mixTime(b, createdUs);
    b = mixTime(b, updatedUs);
    this.add(sign, a, b, mix(a, k0 ^ contentCrc, C3, C4), mix(b, k1 ^ nameCrc, C4, C1));
  }

  association(
    sign: 1 | -1,
    s0: number,
    s1: number,
    s2: number,
    s3: number,
    t0: number,
    t1: number,
    t2: number,
    t3: number,
    type: number,
    confidence: number,
    createdUs: number,
  ): void {
    let a = mix(mix(mix(mix(0x65646765, s0, C1, C2), s1, C1, C2), s2, C1, C2), s3, C1, C2);
    a = mix(mix(mix(mix(a, t0, C1, C2), t1, C1, C2), t2, C1, C2), t3, C1, C2);
    let b = mix(mix(a ^ 0x33333333, type, C2, C3), floatBits(confidence), C2, C3);
    b = mixTime(b, createdUs);
    this.add(sign, a, b, mix(b, s0 ^ t1, C3, C4), mix(b, t0 ^ s1, C4, C1));
  }

  private add(sign: 1 | -1, a: number, b: number, c: number, d: number): void {
    const lanes = this.lanes;
    // A last cross of the lanes, so that each depends on every word; then the sum.
    a = (a + b + c + d) | 0;
    lanes[0] = (lanes[0]! + sign * final(a)) | 0;
    lanes[1] = (lanes[1]! + sign * final((b + a) | 0)) | 0;
    lanes[2] = (lanes[2]! + sign * final((c + a) | 0)) | 0;
    lanes[3] = (lanes[3]! + sign * final((d + a) | 0)) | 0;
  }
}

const C1 = 0x239b961b;
const C2 = 0xab0e9789;
const C3 = 0x38b34ae5;
const C4 = 0xa1e38b93;
