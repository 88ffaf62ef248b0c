/** UTF-8 to strings. */

/** bytes[start, end) as text. */
export function utf8(bytes: Buffer, start: number, end: number): string {
  return bytes.toString('utf8', start, end);
}

/** A name as text. Short ASCII names are the usual case, and cheaper without a call into native code. */
export function nameText(bytes: Uint8Array): string {
  const { length } = bytes;
  let text = '';
  if (length <= 24) {
    let i = 0;
    for (; i < length && bytes[i]! < 128; i++) text += String.fromCharCode(bytes[i]!);
    if (i === length) return text;
  }
  return Buffer.from(bytes.buffer, bytes.byteOffset, length).toString('utf8');
}
