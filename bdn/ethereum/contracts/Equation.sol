// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Modular} from "./Modular.sol";

/// Eq. (5) at one index: whether ∏ c_k^{s_k} = claimed mod M, one factor after the other.
///
///   4^(n−1) · ∏ c_k^{s_k} = 4^(n−1) · claimed   mod M
///   ╰──── left ─────────╯   ╰──── right ────╯
library Equation {
    /// `left` is what the first `count` factors give; `valid` turns false for good at the first
    /// number that is no ciphertext.
    struct State {
        uint256 width;
        uint256[] M;
        uint256[] left;
        uint256[] claimed;
        uint256 count;
        bool valid;
    }

    /// The equation before its first factor. `modulus` must be odd.
    function begin(bytes calldata modulus, bytes calldata claimed)
        internal
        pure
        returns (State memory state)
    {
        state.width = modulus.length;
        state.M = Modular.load(modulus, (modulus.length + 31) / 32);
        state.valid = true;
        state.claimed = _ciphertext(state, claimed);
    }

    /// One more factor c^exponent.
    function multiply(State memory state, bytes calldata data, uint256 exponent) internal view {
        uint256[] memory c = _ciphertext(state, data);
        if (!state.valid) return;
        if (exponent != 1) c = Modular.power(c, exponent, state.M);
        state.left = state.count == 0 ? c : Modular.fourfoldProduct(state.left, c, state.M);
        state.count++;
    }

    /// Whether both sides are equal, and every number was a ciphertext.
    function holds(State memory state) internal view returns (bool) {
        if (!state.valid || state.count == 0) return false;
        if (state.count == 1) return Modular.equal(state.left, state.claimed);
        uint256[] memory fours = Modular.powerOfFour(state.count - 2, state.M);
        uint256[] memory right = Modular.fourfoldProduct(state.claimed, fours, state.M);
        return Modular.equal(state.left, right);
    }

    /// A ciphertext has the modulus's width and lies in 1 … M − 1.
    function _ciphertext(State memory state, bytes calldata data)
        private
        pure
        returns (uint256[] memory c)
    {
        if (data.length != state.width) {
            state.valid = false;
            return c;
        }
        c = Modular.load(data, state.M.length);
        if (Modular.isZero(c) || !Modular.less(c, state.M)) state.valid = false;
    }
}
