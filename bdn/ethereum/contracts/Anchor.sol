// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Equation} from "./Equation.sol";
import {Merkle} from "./Merkle.sol";

/// Anchors one BlockDeepNet ledger on Ethereum, and lets anyone prove that an anchored aggregate
/// lies.
///
/// Aggregating here would cost hundreds of millions of gas an epoch, so the edge servers aggregate
/// and this contract keeps them to it. A *round* is one aggregate of the ledger, named by epoch and
/// phase. Its edge server anchors the Merkle roots of the sealed updates and of the claimed product;
/// leaf i of each tree is Paillier ciphertext i. Whoever holds the leaves at one index can show them
/// here, and the contract computes
///
///   ∏ c_k^{s_k} mod N²          (Eq. (5))
///
/// for that index itself. A round's details are emitted; storage keeps their digest only.
contract Anchor {
    // --- types ----------------------------------------------------------------------------------

    /// An edge server: the account that anchors, and its Ed25519 key on the ledger.
    struct Edge {
        address account;
        bytes32 publicKey;
    }

    /// How the vectors of a phase are cut: the first `ciphertexts` of `leaves` leaves are Paillier
    /// ciphertexts. The same for every update and aggregate, so nobody can lie about it in a round.
    struct Shape {
        uint64 ciphertexts;
        uint64 leaves;
    }

    /// Device p_k's part in a round: s_k and the root of its sealed update.
    struct Contribution {
        bytes20 device;
        uint64 weight;
        bytes32 root;
    }

    /// One aggregate of the ledger. `phase` is 0 for gradient, 1 for weights, 2 for loss.
    struct Round {
        uint64 epoch;
        uint8 phase;
        uint64 height;
        bytes32 blockDigest;
        bytes32 aggregateRoot;
        Contribution[] contributions;
    }

    /// Tokens that the ledger moved in the round's block.
    struct Payment {
        bytes20 source;
        bytes20 target;
        uint64 amount;
    }

    /// A leaf with its Merkle path, leaf to root.
    struct Leaf {
        bytes data;
        bytes32[] path;
    }

    /// What storage keeps of a round: two slots. `lie` is 1 + the index that was proven false.
    struct Anchored {
        bytes32 commitment;
        address edge;
        uint64 blockNumber;
        uint32 lie;
    }

    // --- storage --------------------------------------------------------------------------------

    uint8 public constant PHASES = 3;

    bytes32 public immutable chain; // the ledger's id, the digest of its genesis record
    bytes32 public immutable modulusDigest; // keccak256 of N², big-endian at a ciphertext's width
    bool public immutable weightInside; // the devices apply s_k (ring-masked): exponents are 1
    uint64 public immutable deviceCount;

    Shape[PHASES] public shapes;
    address[] private _edges;
    mapping(address account => bytes32 publicKey) public edgeKey;
    mapping(bytes20 device => bool) public isDevice;
    uint64 public registered;
    mapping(uint64 epoch => mapping(uint8 phase => Anchored)) public rounds;
    uint64 public roundCount;

    // --- events and errors ----------------------------------------------------------------------

    event Deployed(bytes32 indexed chain, bytes modulus, Edge[] edges);
    event DeviceRegistered(bytes20 indexed device, bytes32 publicKey);
    event RoundAnchored(
        uint64 indexed epoch, uint8 indexed phase, address indexed edge, Round round
    );
    event Paid(
        uint64 indexed epoch, bytes20 indexed source, bytes20 indexed target, uint64 amount
    );
    event LieProven(
        uint64 indexed epoch, uint8 indexed phase, address indexed edge, uint64 index,
        address challenger
    );

    error BadSetup(string what);
    error NotAnEdge(address account);
    error TooManyDevices(uint64 expected);
    error DeviceKnown(bytes20 device);
    error DevicesMissing(uint64 registered, uint64 expected);
    error AlreadyAnchored(uint64 epoch, uint8 phase);
    error BadRound(string what);
    error UnknownRound(uint64 epoch, uint8 phase);
    error AlreadyProven(uint64 epoch, uint8 phase);
    error WrongModulus();
    error NoSuchCiphertext(uint64 index, uint64 ciphertexts);
    error WrongInputCount(uint256 given, uint256 expected);
    error InputNotIncluded(uint256 position);
    error ClaimNotIncluded();
    error AggregateIsRight(uint64 index);

    // --- set-up ---------------------------------------------------------------------------------

    constructor(
        bytes32 chain_,
        bytes memory modulus,
        bool weightInside_,
        uint64 deviceCount_,
        Shape[PHASES] memory shapes_,
        Edge[] memory edges_
    ) {
        if (modulus.length == 0 || uint8(modulus[modulus.length - 1]) & 1 == 0) {
            revert BadSetup("the modulus must be odd");
        }
        if (edges_.length == 0 || deviceCount_ == 0) revert BadSetup("no edge server or no device");
        chain = chain_;
        modulusDigest = keccak256(modulus);
        weightInside = weightInside_;
        deviceCount = deviceCount_;
        for (uint256 phase = 0; phase < PHASES; phase++) {
            Shape memory shape = shapes_[phase];
            if (shape.ciphertexts >= type(uint32).max || shape.ciphertexts > shape.leaves) {
                revert BadSetup("shapes");
            }
            shapes[phase] = shape;
        }
        for (uint256 i = 0; i < edges_.length; i++) {
            Edge memory edge = edges_[i];
            if (edge.publicKey == 0 || edgeKey[edge.account] != 0) revert BadSetup("edge servers");
            edgeKey[edge.account] = edge.publicKey;
            _edges.push(edge.account);
        }
        emit Deployed(chain_, modulus, edges_);
    }

    modifier onlyEdge() {
        if (edgeKey[msg.sender] == 0) revert NotAnEdge(msg.sender);
        _;
    }

    /// Registers devices by their Ed25519 keys, in batches until there are `deviceCount`.
    function register(bytes32[] calldata publicKeys) external onlyEdge {
        if (registered + publicKeys.length > deviceCount) revert TooManyDevices(deviceCount);
        for (uint256 i = 0; i < publicKeys.length; i++) {
            bytes20 device = addressOf(publicKeys[i]);
            if (isDevice[device]) revert DeviceKnown(device);
            isDevice[device] = true;
            emit DeviceRegistered(device, publicKeys[i]);
        }
        registered += uint64(publicKeys.length);
    }

    /// The ledger's address p_k of a public key (`bdn.identity.address_of`).
    function addressOf(bytes32 publicKey) public pure returns (bytes20) {
        bytes memory transcript =
            abi.encodePacked(uint64(11), "bdn/address", uint64(32), publicKey);
        return bytes20(sha256(transcript));
    }

    // --- anchoring ------------------------------------------------------------------------------

    /// Anchors one round, once and for all. Heights need not ascend: else one edge server that
    /// anchors nonsense for a far epoch would lock the others out.
    function anchor(Round calldata round, Payment[] calldata payments) external onlyEdge {
        if (registered != deviceCount) revert DevicesMissing(registered, deviceCount);
        if (round.phase >= PHASES || shapes[round.phase].leaves == 0) {
            revert BadRound("no such phase");
        }
        Anchored storage kept = rounds[round.epoch][round.phase];
        if (kept.commitment != 0) revert AlreadyAnchored(round.epoch, round.phase);
        _checkContributions(round.contributions);
        kept.commitment = keccak256(abi.encode(round));
        kept.edge = msg.sender;
        kept.blockNumber = uint64(block.number);
        roundCount++;
        emit RoundAnchored(round.epoch, round.phase, msg.sender, round);
        for (uint256 i = 0; i < payments.length; i++) {
            Payment calldata paid = payments[i];
            emit Paid(round.epoch, paid.source, paid.target, paid.amount);
        }
    }

    function _checkContributions(Contribution[] calldata contributions) private view {
        if (contributions.length == 0) revert BadRound("no contribution");
        bytes20 last = 0;
        for (uint256 i = 0; i < contributions.length; i++) {
            Contribution calldata c = contributions[i];
            if (c.device <= last) revert BadRound("contributors must be distinct and ascending");
            if (!isDevice[c.device]) revert BadRound("a contributor is not registered");
            if (c.weight == 0) revert BadRound("a contribution without weight");
            last = c.device;
        }
    }

    // --- the fraud proof ------------------------------------------------------------------------

    /// Proves that ciphertext `index` of a round's aggregate is not what Eq. (5) gives.
    ///
    /// `round` is what was anchored, `modulus` is N², `inputs` are the leaves at `index` of all
    /// contributions in their order, `claimed` is the aggregate's. Reverts with `AggregateIsRight`
    /// where there is nothing to prove. An input that is no ciphertext (wrong width, zero, or not
    /// below N²) convicts as well: Algorithm 2, line 16, forbids to include it.
    function challenge(
        Round calldata round,
        uint64 index,
        bytes calldata modulus,
        Leaf[] calldata inputs,
        Leaf calldata claimed
    ) external {
        Anchored storage kept = rounds[round.epoch][round.phase];
        if (kept.commitment == 0 || kept.commitment != keccak256(abi.encode(round))) {
            revert UnknownRound(round.epoch, round.phase);
        }
        if (kept.lie != 0) revert AlreadyProven(round.epoch, round.phase);
        if (keccak256(modulus) != modulusDigest) revert WrongModulus();
        _checkInclusion(round, index, inputs, claimed);
        if (_isRight(round.contributions, modulus, inputs, claimed.data)) {
            revert AggregateIsRight(index);
        }
        kept.lie = uint32(index + 1);
        emit LieProven(round.epoch, round.phase, kept.edge, index, msg.sender);
    }

    function _checkInclusion(
        Round calldata round, uint64 index, Leaf[] calldata inputs, Leaf calldata claimed
    ) private view {
        Shape memory shape = shapes[round.phase];
        if (index >= shape.ciphertexts) revert NoSuchCiphertext(index, shape.ciphertexts);
        Contribution[] calldata contributions = round.contributions;
        if (inputs.length != contributions.length) {
            revert WrongInputCount(inputs.length, contributions.length);
        }
        for (uint256 k = 0; k < inputs.length; k++) {
            Leaf calldata leaf = inputs[k];
            bytes32 root = contributions[k].root;
            if (!Merkle.includes(root, shape.leaves, index, leaf.data, leaf.path)) {
                revert InputNotIncluded(k);
            }
        }
        bytes32 sum = round.aggregateRoot;
        if (!Merkle.includes(sum, shape.leaves, index, claimed.data, claimed.path)) {
            revert ClaimNotIncluded();
        }
    }

    function _isRight(
        Contribution[] calldata contributions, bytes calldata modulus, Leaf[] calldata inputs,
        bytes calldata claimed
    ) private view returns (bool) {
        Equation.State memory state = Equation.begin(modulus, claimed);
        for (uint256 k = 0; k < inputs.length; k++) {
            Equation.multiply(state, inputs[k].data, weightInside ? 1 : contributions[k].weight);
        }
        return Equation.holds(state);
    }

    // --- views: what the contract would say, without a transaction ------------------------------

    function edges() external view returns (address[] memory) {
        return _edges;
    }

    /// Whether a leaf stands at `index` of the tree of `size` leaves under `root`.
    function includes(
        bytes32 root, uint256 size, uint256 index, bytes calldata leaf, bytes32[] calldata path
    ) external pure returns (bool) {
        return Merkle.includes(root, size, index, leaf, path);
    }

    /// Whether `claimed` is ∏ factor^exponent mod `modulus` (odd), all of them at one width.
    function isProduct(
        bytes calldata modulus, bytes[] calldata factors, uint64[] calldata exponents,
        bytes calldata claimed
    ) external view returns (bool) {
        if (factors.length == 0 || factors.length != exponents.length) return false;
        Equation.State memory state = Equation.begin(modulus, claimed);
        for (uint256 k = 0; k < factors.length; k++) {
            Equation.multiply(state, factors[k], exponents[k]);
        }
        return Equation.holds(state);
    }
}
