"""Names of what lies in a run's folder."""

#: settings, versions, and the command that makes the same run
ARGS = "args.json"

#: folder of checkpoints, the replay buffer with them
CHECKPOINTS = "checkpoints"

#: the trained agent
FINAL = "final.zip"

#: its weights and counters, without pickle
FINAL_WEIGHTS = "final.safetensors"

#: a row a training episode
EPISODES = "episodes.csv"

#: a row an evaluation
EVALUATIONS = "evaluations.csv"

#: folder of TensorBoard's events
TENSORBOARD = "tensorboard"

#: picture of the learning curve
CURVE = "curve.png"
