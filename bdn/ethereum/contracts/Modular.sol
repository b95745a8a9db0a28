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
        return keccak256(abi.encodePacked(x)) == keccak256(abi.encodePacked(y));
    }

    /// x − y modulo 2^(256·limbs): what is left where y ≤ x.
    function minus(uint256[] memory x, uint256[] memory y)
        internal
        pure
        returns (uint256[] memory z)
    {
        z = new uint256[](x.length);
        assembly ("memory-safe") {
            let borrow := 0
            for { let at := mul(mload(x), 32) } at { at := sub(at, 32) } {
                let a := mload(add(x, at))
                let b := mload(add(y, at))
                let difference := sub(a, b)
                mstore(add(z, at), sub(difference, borrow))
                borrow := or(lt(a, b), lt(difference, borrow))
            }
        }
    }

    /// x + y modulo 2^(256·limbs), and the carry out of it.
    function plus(uint256[] memory x, uint256[] memory y)
        internal
        pure
        returns (uint256[] memory z, bool carried)
    {
        z = new uint256[](x.length);
        assembly ("memory-safe") {
            let carry := 0
            for { let at := mul(mload(x), 32) } at { at := sub(at, 32) } {
                let a := mload(add(x, at))
                let sum := add(a, mload(add(y, at)))
                let whole := add(sum, carry)
                mstore(add(z, at), whole)
                carry := or(lt(sum, a), lt(whole, sum))
            }
            carried := carry
        }
    }

    /// x^e mod M. The precompile reduces x itself.
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
        // x + y < 2M may be one bit too long; then one M less of it fits.
        (uint256[] memory sum, bool carried) = plus(x, y);
        if (carried) sum = minus(sum, M);
        uint256[] memory difference = less(x, y) ? minus(y, x) : minus(x, y);
        uint256[] memory a = power(sum, 2, M);
        uint256[] memory b = power(difference, 2, M);
        return less(a, b) ? minus(M, minus(b, a)) : minus(a, b);
    }

    /// 4^e mod M.
    function powerOfFour(uint256 e, uint256[] memory M) internal view returns (uint256[] memory) {
        uint256[] memory four = new uint256[](M.length);
        four[four.length - 1] = 4;
        return power(four, e, M);
    }
}
