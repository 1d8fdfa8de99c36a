# The environment of what `make` runs.

# What you have set for other environments does not reach this one. Package indexes do.
export PIP_USER := 0
export PIP_TARGET :=
export PIP_PREFIX :=
export PIP_PYTHON :=
unexport PYTHONHOME PYTHONPATH

# A container may run as a user that its system does not know: one without a name, and without a home to write in.
export USER := $(or $(USER),$(LOGNAME),user)
ifneq ($(shell test -w "$$HOME" && echo home),home)
export HOME := $(CURDIR)/build/home
MADE := $(shell mkdir -p "$(CURDIR)/build/home")
endif

# Nothing of yours is sent anywhere.
export DO_NOT_TRACK := 1
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export BENTOML_DO_NOT_TRACK := True
export ORT_DISABLE_TELEMETRY := 1
