# Masklet on Ray, for every node of a cluster: docker build -t registry.example.com/masklet:0.1.0 .
# The image without CUDA: torch brings its own, and the node its driver.
FROM rayproject/ray:2.60.0-py312-cpu

# Nobody is served without the cluster's token, and Ray sends no usage reports.
ENV RAY_AUTH_MODE=token \
    RAY_USAGE_STATS_ENABLED=0 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video

# torch compiles for the GPU of a node when it meets it, and calls a C compiler to do so.
RUN sudo apt-get update && sudo apt-get install -y --no-install-recommends gcc libc6-dev \
    && sudo rm -rf /var/lib/apt/lists/*

# What changes seldom first: a change in our code does not install torch again.
WORKDIR /home/ray/masklet
COPY --chown=ray pyproject.toml constraints.txt ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
      > requirements.txt \
    && pip install --no-cache-dir -c constraints.txt -r requirements.txt

COPY --chown=ray . .
RUN pip install --no-cache-dir --no-deps -e . && masklet --help
