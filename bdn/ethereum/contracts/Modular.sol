// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// Arithmetic modulo an odd M of hundreds of bytes, on the MODEXP precompile (EIP-198).
///
/// A number is an array of 256-bit limbs, most significant first, so that the array's bytes are the
/// number's big-endian bytes. The EVM multiplies 256 bits at a time and has no wide product; it has
/// wide *powers*. So products come from squares:
///
///   4·x·y = (x + y)² − (x − y)²   mod M
///
/// and a product of n factors comes out 4^(n−1) times too large. Both sides of an equation are
/// compared with that factor in place; it is invertible because M is odd.
library Modular {
    error PrecompileFailed();

    /// Big-endian `data` in `limbs` limbs. The caller sees to it that it fits.
    function load(bytes calldata data, uint256 limbs) internal pure returns (uint256[] memory x) {
        x = new uint256[](limbs);
        uint256 padding = limbs * 32 - data.length;
        assembly ("memory-safe") {
            calldatacopy(add(add(x, 32), padding), data.offset, data.length)
        }
    }

    function isZero(uint256[] memory x) internal pure returns (bool) {
        for (uint256 i = 0; i < x.length; i++) {
            if (x[i] != 0) return false;
        }
        return true;
    }

    /// x < y.
    function less(uint256[] memory x, uint256[] memory y) internal pure returns (bool) {
        for (uint256 i = 0; i < x.length; i++) {
            if (x[i] != y[i]) return x[i] < y[i];
        }
        return false;
    }

    /// x = y.
    function equal(uint256[] memory x, uint256[] memory y) internal pure returns (bool) {
        return !less(x, y) && !less(y, x);
    }

    /// x − y, for y ≤ x.
    function minus(uint256[] memory x, uint256[] memory y)
        internal
        pure
        returns (uint256[] memory z)
    {
        z = new uint256[](x.length);
        uint256 borrow = 0;
        unchecked {
            for (uint256 i = x.length; i > 0; i--) {
                uint256 a = x[i - 1];
                uint256 b = y[i - 1];
                z[i - 1] = a - b - borrow;
                borrow = (a < b || (a == b && borrow == 1)) ? 1 : 0;
            }
        }
    }

    /// x + y, where the sum is known to fit.
    function plus(uint256[] memory x, uint256[] memory y)
        internal
        pure
        returns (uint256[] memory z)
    {
        z = new uint256[](x.length);
        uint256 carry = 0;
        unchecked {
            for (uint256 i = x.length; i > 0; i--) {
                uint256 a = x[i - 1];
                uint256 sum = a + y[i - 1] + carry;
                carry = (sum < a || (sum == a && carry == 1)) ? 1 : 0;
                z[i - 1] = sum;
            }
        }
    }

    /// x + y mod M, for x, y < M.
    function addMod(uint256[] memory x, uint256[] memory y, uint256[] memory M)
        internal
        pure
        returns (uint256[] memory)
    {
        uint256[] memory room = minus(M, y);
        return less(x, room) ? plus(x, y) : minus(x, room);
    }

    /// x − y mod M, for x, y < M.
    function subMod(uint256[] memory x, uint256[] memory y, uint256[] memory M)
        internal
        pure
        returns (uint256[] memory)
    {
        return less(x, y) ? minus(M, minus(y, x)) : minus(x, y);
    }

    /// x^e mod M.
    function power(uint256[] memory x, uint256 e, uint256[] memory M)
        internal
        view
        returns (uint256[] memory z)
    {
        uint256 length = M.length * 32;
        z = new uint256[](M.length);
        bool ok;
        assembly ("memory-safe") {
            // Beyond the free pointer, and not kept: |x|, |e|, |M|, x, e, M.
            let input := mload(0x40)
            mstore(input, length)
            mstore(add(input, 32), 32)
            mstore(add(input, 64), length)
            mcopy(add(input, 96), add(x, 32), length)
            mstore(add(add(input, 96), length), e)
            mcopy(add(add(input, 128), length), add(M, 32), length)
            ok := staticcall(gas(), 5, input, add(128, mul(2, length)), add(z, 32), length)
        }
        if (!ok) revert PrecompileFailed();
    }

    /// 4·x·y mod M, for x, y < M.
    function fourfoldProduct(uint256[] memory x, uint256[] memory y, uint256[] memory M)
        internal
        view
        returns (uint256[] memory)
    {
        uint256[] memory sum = addMod(x, y, M);
        uint256[] memory difference = subMod(x, y, M);
        return subMod(power(sum, 2, M), power(difference, 2, M), M);
    }
}
