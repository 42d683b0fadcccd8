# For Packer 1.7 and newer: `packer init .` fetches the plugin. Packer 1.6, which has the builder built in, does not know this
# block: build from a copy of the directory without this file.
packer {
  required_plugins {
    googlecompute = {
      source  = "github.com/hashicorp/googlecompute"
      version = ">= 1.1.0"
    }
  }
}
