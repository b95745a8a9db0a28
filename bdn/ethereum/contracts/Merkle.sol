// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// Merkle trees of RFC 6962, section 2.1, over SHA-256: the ones of `bdn.chain.merkle`.
///
///   fn, sn   index of the followed node and of the last node, at the present level
///   fr       hash computed so far
library Merkle {
    function leafHash(bytes calldata data) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x00), data));
    }

    function nodeHash(bytes32 left, bytes32 right) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x01), left, right));
    }

    /// Whether `path` leads from the leaf at `index` of `size` to `root` (RFC 9162, 2.1.3.2).
    function includes(
        bytes32 root,
        uint256 size,
        uint256 index,
        bytes calldata leaf,
        bytes32[] calldata path
    ) internal pure returns (bool) {
        if (index >= size) return false;
        uint256 fn = index;
        uint256 sn = size - 1;
        bytes32 fr = leafHash(leaf);
        for (uint256 i = 0; i < path.length; i++) {
            if (sn == 0) return false;
            if (fn & 1 == 1 || fn == sn) {
                fr = nodeHash(path[i], fr);
                while (fn != 0 && fn & 1 == 0) {
                    fn >>= 1;
                    sn >>= 1;
                }
            } else {
                fr = nodeHash(fr, path[i]);
            }
            fn >>= 1;
            sn >>= 1;
        }
        return sn == 0 && fr == root;
    }
}
