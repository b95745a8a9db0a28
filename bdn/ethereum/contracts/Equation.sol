// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Modular} from "./Modular.sol";

/// Eq. (5) at one index: whether ∏ c_k^{s_k} = claimed mod M, one factor after the other.
///
///   4^(n−1) · ∏ c_k^{s_k} = 4^(n−1) · claimed   mod M
///   ╰──── left ─────────╯   ╰──── right ────╯
library Equation {
    /// `left` is empty before the first factor; `valid` turns false for good at the first number
    /// that is no ciphertext.
    struct State {
        uint256 width;
        uint256[] M;
        uint256[] left;
        uint256[] right;
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
        state.right = _ciphertext(state, claimed);
    }

    /// One more factor c^exponent on the left; the right keeps up with its factor of four.
    function multiply(State memory state, bytes calldata data, uint256 exponent) internal view {
        uint256[] memory c = _ciphertext(state, data);
        if (!state.valid) return;
        if (exponent != 1) c = Modular.power(c, exponent, state.M);
        if (state.left.length == 0) {
            state.left = c;
            return;
        }
        state.left = Modular.fourfoldProduct(state.left, c, state.M);
        uint256[] memory doubled = Modular.addMod(state.right, state.right, state.M);
        state.right = Modular.addMod(doubled, doubled, state.M);
    }

    /// Whether both sides are equal, and every number was a ciphertext.
    function holds(State memory state) internal pure returns (bool) {
        return state.valid && state.left.length != 0 && Modular.equal(state.left, state.right);
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
