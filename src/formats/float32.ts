/**
 * float32 values as people and JSON should see them: 0.9, not 0.8999999761581421. A confidence travels and is stored as
 * float32; printed as a double it shows 16 digits of which 9 at most mean anything. `shortFloat32` gives the double
 * whose decimal form is the shortest that rounds back to the very same float32, so nothing is lost: reading the
 * printed number and rounding it to float32 restores the bits.
 */

/** FLT_MIN, below which float32 values have fewer than 24 significant bits. */
const SMALLEST_NORMAL = 2 ** -126;

/** The double that prints as the shortest decimal rounding to float32 `value`. NaN, infinities and -0 come back as is. */
export function shortFloat32(value: number): number {
  const exact = Math.fround(value);
  // Integers up to 2^24 are exact and short already; NaN and the infinities have no digits.
  if (!Number.isFinite(exact) || (Number.isInteger(exact) && Math.abs(exact) <= 0x1000000)) {
    return exact;
  }
  // Nine significant digits always suffice for 24 bits, and toExponential rounds to nearest.
  if (isPowerOfTwo(exact)) return shortPowerOfTwo(exact);
  // Enough digits stay enough when there are more of them, so the search may begin where most values end: those that a
  // model computed need eight or nine.
  let digits = 8;
  let near = Number(exact.toExponential(digits - 1));
  if (Math.fround(near) !== exact) return Number(exact.toExponential(8));
  while (--digits > 0) {
    const nearer = Number(exact.toExponential(digits - 1));
    if (Math.fround(nearer) !== exact) return near;
    near = nearer;
  }
  return near;
}

/** The shortest decimal as text; a zero keeps its sign, which String and JSON.stringify drop. */
export function decimal(value: number): string {
  return Object.is(value, -0) ? '-0' : String(shortFloat32(value));
}

/**
 * Where a float32 is a power of two, the gap below it is half the gap above: the nearest decimal of p digits may fall out
 * of the narrow side while the next one up still is inside the wide side, so that one is tried as well.
 */
function shortPowerOfTwo(exact: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const text = exact.toExponential(digits - 1);
    const near = Number(text);
    if (Math.fround(near) === exact) return near;
    const further = nextAway(text, digits);
    if (Math.fround(further) === exact) return further;
  }
  return Number(exact.toExponential(8));
}

function isPowerOfTwo(value: number): boolean {
  const magnitude = Math.abs(value);
  return magnitude > SMALLEST_NORMAL && Number.isInteger(Math.log2(magnitude));
}

/** The decimal with the same number of digits that is one unit in the last place further from zero. */
function nextAway(decimal: string, digits: number): number {
  const [mantissa = '', exponent = ''] = decimal.split('e');
  const units = Number(mantissa.replace('.', ''));
  return Number(`${units + Math.sign(units)}e${Number(exponent) - digits + 1}`);
}
